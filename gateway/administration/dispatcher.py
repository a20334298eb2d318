# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one way in which anything is administered: checked, performed, written down (C1).

API, control socket, console and the commands on the data of a service that is down all come through here.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from gateway.administration.audit import Act, AuditLog
from gateway.administration.database import AdministrationDatabase
from gateway.administration.errors import Denied, Invalid, NotFound
from gateway.administration.history import record
from gateway.administration.models import Outcome
from gateway.administration.on_bridges import BridgeOperations, Doors
from gateway.administration.on_instances import Administered, InstanceOperations
from gateway.administration.on_service import ConsoleAccess, ServiceOperations
from gateway.administration.operations import BY_NAME, Actor, Operation
from gateway.administration.tokens import Tokens
from gateway.instance import RunningInstance
from gateway.settings import Settings
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import RequestRefused, ServiceUnavailable
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.address import ServiceAddress

T = TypeVar("T")

log = structlog.get_logger()

Answer = msgspec.Struct | list[Any]
"""What an operation answers: its `answer`, or a list of it."""

_LIST_TOLD_CHARACTERS: Final = 600  # in the audit log; of a longer list, how many there are. All scopes have room


_DONE_UNRECORDED: Final = (
    "this was done, but that could not be recorded yet: it will be as soon as it can, and nothing is begun before; "
    "look at the disk, do not ask for it again"
)


class Performs(Protocol):
    """Whoever performs operations for one actor, here or over the control socket."""

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None = None
    ) -> Answer:
        """See `Administration.perform`."""
        ...


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """Implements `Performs` in this process."""

    administration: "Administration"
    actor: Actor

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None = None
    ) -> Answer:
        """See `Administration.perform`."""
        return await self.administration.perform(self.actor, operation, arguments, body)


class Administration:
    """All operations on the instances of this process.

    `addresses`: where clients find an instance; `running_bridges`: names of the bridges that run; `doors`: to each.
    """

    def __init__(
        self,
        settings: Settings,
        instances: Mapping[str, RunningInstance],
        addresses: Callable[[str], ServiceAddress],
        running_bridges: Callable[[], Awaitable[frozenset[str]]],
        doors: Doors,
        database: AdministrationDatabase,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self.database = database
        self.audit = AuditLog(database, clock)
        self.tokens = Tokens(database, clock, random_bytes)
        self._instances = {
            name: Administered(running, clock, lambda name=name: addresses(name))  # type: ignore[misc]
            for name, running in instances.items()
        }
        on_instances = InstanceOperations(self._instances, clock)
        self._on_service = ServiceOperations(settings, self._instances, running_bridges, self.audit, self.tokens, clock)
        self._bridges = {one.name: one.instance for one in settings.bridges.smtp}
        self._on_bridges = BridgeOperations(self._bridges, self._instances, doors)
        self._handlers = {
            **on_instances.handlers(),
            **self._on_service.handlers(),
            **self._on_bridges.handlers(),
        }
        self._under_way: set[asyncio.Task[Any]] = set()
        self._recording: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._away: set[str] = set()  # bridges that could not be told who has joined

    async def start(self, *, recording: bool = True) -> None:
        """Say what became of acts that the last process left; and begin to keep a history."""
        await self.audit.end_interrupted()
        if recording:
            histories = {name: instance.history for name, instance in self._instances.items()}
            self._recording = asyncio.get_running_loop().create_task(record(histories))
            self._settling = asyncio.get_running_loop().create_task(self._settle_forever())
            self._watching = asyncio.get_running_loop().create_task(self._watch_forever())

    async def stop(self) -> None:
        """Finish what was begun, and close the database. Idempotent."""
        beside = [task for task in (self._recording, self._settling, self._watching) if task is not None]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        self._recording = self._settling = self._watching = None
        await asyncio.gather(*self._under_way, return_exceptions=True)
        with contextlib.suppress(ServiceUnavailable):
            await self.audit.settle()
            await self.audit.fold(all_of_them=True)
        await self.database.close()

    async def _settle_forever(self) -> None:
        while True:
            await asyncio.sleep(limits.AUDIT_SETTLE_INTERVAL_S)
            with contextlib.suppress(ServiceUnavailable):  # the database has said so in the log
                await self.audit.settle()
                await self.audit.fold()

    async def _watch_forever(self) -> None:
        while self._bridges:
            await asyncio.sleep(limits.INVITED_LOOK_INTERVAL_S)
            for bridge in self._bridges:
                await self.look_at_invited(bridge)

    async def look_at_invited(self, bridge: str) -> None:
        """Tell a bridge which of its correspondents have joined, and invite whom its rules want invited.

        Where that is not possible now, it is later.
        """
        try:
            async with asyncio.timeout(limits.INVITED_LOOK_MAX_S):
                await self._on_bridges.inviting.look(bridge, self.recorded)
        except (RequestRefused, ServiceUnavailable, TimeoutError) as error:
            if bridge not in self._away:  # said once: it may be on another machine for good
                log.warning("bridge_not_looked_at", bridge=bridge, error=str(error) or "it took too long")
            self._away.add(bridge)
        except Exception:
            log.exception("bridge_not_looked_at", bridge=bridge)
        else:
            self._away.discard(bridge)

    def let_in_by(self, console: ConsoleAccess) -> None:
        """From now on the operations on the console's people are done by this."""
        self._on_service.console = console

    def on_behalf_of(self, actor: Actor) -> OnBehalf:
        """The same, for one actor."""
        return OnBehalf(self, actor)

    async def perform(
        self, actor: Actor, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None = None
    ) -> Answer:
        """Do it, if the actor may. A change is in the audit log, durably, before this returns or raises.

        `arguments`: those of the path and of the query. Raises `Denied`, `Invalid`, `NotFound`
        or another `RequestRefused`, and `ServiceUnavailable` where nobody knows how far it came. A change goes on to
        its end where this is cancelled.
        """
        known = BY_NAME.get(operation)
        if known is None:
            raise NotFound(f"there is no operation {operation}")
        if not known.changes:
            asked = self._checked(actor, known, arguments, body)
            return await self._do(actor, known, asked, body)
        return await self._to_its_end(self._change(actor, known, arguments, body))

    async def recorded(self, act: Act, work: Callable[[], Awaitable[T]], told: str = "") -> T:
        """Have something done that is no operation, with its entry like one. It goes on where this is cancelled."""
        return await self._to_its_end(self._recorded(act, work, told))

    async def _to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(change)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone

    async def _change(
        self, actor: Actor, operation: Operation, arguments: Mapping[str, object], body: msgspec.Struct | None
    ) -> Answer:
        target = " / ".join(
            str(arguments[name]) for name in operation.in_path if name in arguments and name != "instance"
        )
        act = Act(actor.name, operation.name, self._instance_of(arguments), target)
        told = _told(body)
        try:
            asked = self._checked(actor, operation, arguments, body)
        except Denied as denied:
            await self.audit.deny(act, _joined(told, denied.text))
            raise
        except RequestRefused as refused:
            await self.audit.end(None, act, "refused", _joined(told, refused.text))
            raise
        return await self._recorded(act, lambda: self._do(actor, operation, asked, body), told)

    async def _recorded(self, act: Act, work: Callable[[], Awaitable[T]], told: str) -> T:
        key = await self.audit.begin(act)
        try:
            answer = await work()
        except RequestRefused as refused:
            await self.audit.end(key, act, _outcome(refused), _joined(told, refused.text))
            raise
        except Exception as error:
            with contextlib.suppress(ServiceUnavailable):  # that it failed is told first, and written when it can be
                await self.audit.end(key, act, "failed", _joined(told, type(error).__name__))
            raise
        try:
            await self.audit.end(key, act, "done", told)
        except ServiceUnavailable:
            raise ServiceUnavailable(_DONE_UNRECORDED) from None
        return answer

    def _checked(
        self, actor: Actor, operation: Operation, arguments: Mapping[str, object], body: msgspec.Struct | None
    ) -> Any:
        """The arguments, if the actor may do this and all makes sense."""
        if operation.scope not in actor.scopes:
            raise Denied(f"{actor.name} may not do this: it takes {operation.scope}")
        if operation.whole and actor.instances is not None:
            raise Denied(f"{actor.name} may act on some instances only, and this is about the whole service")
        asked = self.arguments_of(operation, arguments)
        if operation.of_instance:
            if not actor.may_see(asked.instance):
                raise Denied(f"{actor.name} may not act on the instance {asked.instance}")
            if asked.instance not in self._instances:
                known = ", ".join(self._instances) or "none"
                raise NotFound(f"there is no instance {asked.instance}; the file has: {known}")
        if operation.of_bridge:
            self._check_bridge(actor, asked.bridge)
        _check_body(operation, body)
        return asked

    def _check_bridge(self, actor: Actor, bridge: str) -> None:
        instance = self._bridges.get(bridge)
        if actor.instances is not None and (instance is None or not actor.may_see(instance)):
            raise Denied(f"{actor.name} may not act on the bridge {bridge}")
        if instance is None:
            raise NotFound(f"there is no bridge {bridge}; the file has: {', '.join(self._bridges) or 'none'}")

    def _instance_of(self, arguments: Mapping[str, object]) -> str:
        """Which instance it is about, for the audit log; what was given may be anything."""
        bridge = arguments.get("bridge")
        if isinstance(bridge, str) and bridge in self._bridges:
            return self._bridges[bridge]
        return str(arguments.get("instance", ""))

    @staticmethod
    def arguments_of(operation: Operation, arguments: Mapping[str, object]) -> Any:
        """The arguments as `Operation.arguments`. Raises `Invalid`."""
        try:
            return msgspec.convert(dict(arguments), operation.arguments)
        except msgspec.ValidationError as error:
            raise Invalid(in_words(error)) from None

    async def _do(self, actor: Actor, operation: Operation, asked: Any, body: msgspec.Struct | None) -> Answer:
        try:
            answer: Answer = await self._handlers[operation.name](actor, asked, body)
        except (RequestRefused, ServiceUnavailable):
            raise
        except Exception:
            log.exception("administration_failed", operation=operation.name)
            raise
        return answer


def in_words(error: msgspec.ValidationError) -> str:
    """What does not fit, and where."""
    what, _, where = str(error).partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what


def _check_body(operation: Operation, body: msgspec.Struct | None) -> None:
    """Also one that was made here, whose values nobody has looked at. Raises `Invalid`."""
    if operation.body is None:
        if body is not None:
            raise Invalid(f"{operation.name} takes no body")
        return
    if not isinstance(body, operation.body):
        raise Invalid(f"{operation.name} takes a body: {operation.body.__name__}")
    try:
        msgspec.convert(msgspec.to_builtins(body), operation.body)
    except msgspec.ValidationError as error:
        raise Invalid(in_words(error)) from None


def _told(body: msgspec.Struct | None) -> str:
    """A body as the audit log has it. No body has a secret in it."""
    if body is None:
        return ""
    parts = []
    for name, value in msgspec.structs.asdict(body).items():
        if isinstance(value, list):
            shown = ", ".join(map(_text, value))
            if len(shown) > _LIST_TOLD_CHARACTERS:
                shown = f"{len(value)} of them"
        else:
            shown = _text(value)
        if value not in (None, "", []):
            parts.append(f"{name}: {shown}")
    return "; ".join(parts)


def _text(value: object) -> str:
    """A value in a body; of a struct what is said in it."""
    if not isinstance(value, msgspec.Struct):
        return str(value)
    said = {name: one for name, one in msgspec.structs.asdict(value).items() if one not in (None, "", [])}
    parts = (
        f"{name} {', '.join(map(_text, one)) if isinstance(one, list) else _text(one)}" for name, one in said.items()
    )
    return " ".join(parts)


def _outcome(refused: RequestRefused) -> Outcome:
    return "denied" if isinstance(refused, Denied) else "refused"


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)
