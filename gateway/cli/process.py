# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that serves: what `tmtp-gateway serve` becomes once its arguments and settings are found good (A7).

The command line takes seven megabytes (typer, rich, all other commands), and serving needs none of it. The process is
replaced rather than another one started: it keeps its number, which the supervisor knows, its sockets and its signals.
"""

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:  # loaded by `load`, in its order
    from gateway.settings import Address, Settings

_NOBODY: Final = ""


def become(config: Path, process: int, http: str | None) -> NoReturn:
    """Replace the command line by a process that serves, and reads the file once more. `http`: as it was given."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited: a reload that comes too early ends nothing
    program = [sys.executable, "-P", "-m", __name__]  # -P: no code from here
    os.execv(sys.executable, [*program, str(config), str(process), http or _NOBODY])  # noqa: S606 - this program


def load() -> None:
    """Load what serving takes, and no more."""
    from tmtp_core.names import skeletons  # noqa: PLC0415 - Ctrl-C is heard by `main` while it is loaded

    skeletons("")  # what is left of reading its table is filled by what is loaded after it: 3 MB less than at first use
    _load_logs_alone()
    _load_aiohttp_without_authorities()
    import gateway.cli.serving  # noqa: F401, PLC0415 - after that


def serve(settings: "Settings", process: int, http: "Address | None") -> NoReturn:
    """Serve in this process, and end it: with an exit code of `gateway.cli.main`."""
    import asyncio  # noqa: PLC0415 - see `load`

    from gateway.cli.serving import new_event_loop, serve_until_told  # noqa: PLC0415
    from gateway.instance import StartFailed  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            told = runner.run(serve_until_told(settings, process=process, http=http))
    except StartFailed as failed:
        _fail(str(failed))
    sys.exit(0 if told else os.EX_TEMPFAIL)


def _settings_again(config: Path) -> "Settings":
    """As the command line has read them."""
    from gateway.settings import SettingsInvalid, load_settings  # noqa: PLC0415 - see `load`

    try:
        return load_settings(config)
    except (OSError, SettingsInvalid):
        _fail(f"{config} was changed while the gateway started: start it again")


def _load_logs_alone() -> None:
    """structlog loads rich where there is one, for traces in colours (3 MB), and greenlet.

    Neither is used here; and who needs one afterwards, as PostgreSQL's driver does, has it.
    """
    spared = [name for name in ("rich", "greenlet") if name not in sys.modules]
    for name in spared:
        sys.modules[name] = None  # type: ignore[assignment]  # which says that it cannot be imported
    import structlog  # noqa: F401, PLC0415

    for name in spared:
        del sys.modules[name]


def _load_aiohttp_without_authorities() -> None:
    """aiohttp reads the system's authorities twice when it is loaded (3 MB), for clients: here these trust nobody.

    Who asks another server says whom he trusts (`gateway.sign_in.fetching`).
    """
    nowhere = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
    before = {name: os.environ.get(name) for name in nowhere}
    os.environ.update(nowhere)
    import aiohttp  # noqa: F401, PLC0415

    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def _fail(text: str) -> NoReturn:
    from gateway.cli.common import FAILED, complain  # noqa: PLC0415 - only where there is something to say

    complain(text)
    sys.exit(FAILED)


def main() -> None:
    """What `become` starts."""
    try:
        load()
        from gateway.settings import Address  # noqa: PLC0415 - see `load`

        file, number, http = sys.argv[1:]
        serve(_settings_again(Path(file)), int(number), Address.model_validate(http) if http else None)
    except KeyboardInterrupt:
        sys.exit(128 + 2)


if __name__ == "__main__":
    main()
