# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the commands of `tmtp-gateway smtp` reach an intake, wherever it runs: by the gateway, by the intake's own
socket, or, where nobody runs, on its folder.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from bridges.smtp.control import models as s
from bridges.smtp.control.door import BridgeDoor, BridgeRefused
from gateway.administration import Answer, Performs, local_user
from gateway.administration.on_bridges import error_of_bridge
from gateway.bridge_process import process_door
from gateway.cli.common import administer, bridges_of, performed
from gateway.clock import SystemClock
from gateway.logs import configure_logs
from gateway.settings import Settings, SmtpBridge
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import posted_text

T = TypeVar("T")

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the log.")]
NameOption = Annotated[
    str | None, typer.Option("--name", "-n", metavar="NAME", help="Which bridge; needed where the file has several.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=s.PAGE_MAX, help="How many at most.")]

__all__ = ["LimitOption", "NameOption", "ReasonOption", "ask", "ask_pages", "moment", "proofs_text"]

_PREFIX: Final = "smtp."


def ask(
    config: Path,
    name: str | None,
    answer: type[T],
    operation: str,
    body: msgspec.Struct | None = None,
    /,
    **arguments: object,
) -> T:
    """Perform an operation on a bridge; `operation` without `smtp.`, `answer` what it answers. Arguments that are None
    are left out.
    """
    given = {key: value for key, value in arguments.items() if value is not None}

    async def act(performs: Performs, bridge: str) -> object:
        return await performs.perform(_PREFIX + operation, {"bridge": bridge, **given}, body)

    answered = _administer(config, name, act)
    assert isinstance(answered, answer)
    return answered


def ask_pages(
    config: Path, name: str | None, operation: str, limit: int, after: str, key: str, /, **arguments: object
) -> list[Any]:
    """The first `limit` of a list: a page at a time, `after` being the argument that has the last one's `key`."""
    given = {key: value for key, value in arguments.items() if value is not None}

    async def act(performs: Performs, bridge: str) -> list[Any]:
        found: list[Any] = []
        while len(found) < limit:
            size = min(limit - len(found), s.PAGE_MAX)
            place = {after: getattr(found[-1], key)} if found else {}
            page = await performs.perform(_PREFIX + operation, {"bridge": bridge, "limit": size, **given, **place})
            assert isinstance(page, list)
            found += page
            if len(page) < size:
                break
        return found

    return _administer(config, name, act)


def _administer(config: Path, name: str | None, act: Callable[[Performs, str], Awaitable[T]]) -> T:
    settings, bridge, whole = bridges_of(config, name)
    if whole:
        return administer(config, lambda performs: act(performs, bridge.name))
    return performed(lambda: _on_a_machine_of_its_own(settings, bridge, config, act))


async def _on_a_machine_of_its_own(
    settings: Settings, bridge: SmtpBridge, config: Path, act: Callable[[Performs, str], Awaitable[T]]
) -> T:
    """Where the file has the bridge alone there is no gateway to ask."""
    from gateway.bridge_doors import EitherDoor, FolderDoor  # noqa: PLC0415 - the same
    from gateway.bridge_folder import BridgeFolder  # noqa: PLC0415 - it takes some megabytes

    configure_logs("error", "console")
    folder = BridgeFolder.of(settings.data_dir, bridge.name)
    process = process_door(config, bridge.name, folder.path)
    door = EitherDoor(process, FolderDoor(bridge, folder, SystemClock(), os.urandom))
    try:
        return await act(_ByDoor(door), bridge.name)
    finally:
        await asyncio.shield(door.close())


class _ByDoor:
    """Implements `Performs` for the operations on one bridge, without a gateway."""

    def __init__(self, door: BridgeDoor) -> None:
        self._door = door

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None = None
    ) -> Answer:
        """See `Performs`."""
        if operation == "smtp.correspondents.invite" or _invites(body):
            raise RequestRefused("the gateway makes invitations: invite on its machine, or in its console")
        given = {key: value for key, value in arguments.items() if key != "bridge"}
        try:
            answer: Answer = await self._door.perform(operation.removeprefix(_PREFIX), given, body, local_user().name)
        except BridgeRefused as refused:
            raise error_of_bridge(refused) from None
        return answer


def _invites(body: msgspec.Struct | None) -> bool:
    return isinstance(body, s.DecideHeld) and body.action == "vet_release_and_invite"


# -- in words ----------------------------------------------------------------------------------------------------------
def moment(at_ms: int | None, otherwise: str = "never") -> str:
    """A time, as all commands show it."""
    return posted_text(at_ms) if at_ms is not None else otherwise


def proofs_text(proofs: list[s.Proof]) -> str:
    """As the settings file has them, a line each."""
    lines = []
    for proof in proofs:
        lines += [f"{key}: {value}" for key, value in msgspec.structs.asdict(proof).items() if value is not None]
    return "\n".join(lines)
