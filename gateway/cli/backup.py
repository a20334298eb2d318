# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway backup`, `backup-key` and `restore` (C1, A7; docs/backup.md)."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from nacl.public import PublicKey
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from gateway.backup.keys import BackupKeyInvalid, new_secret, parse_public, public_text, read_secret, secret_text
from gateway.cli.common import FAILED, USAGE, ConfigOption, JsonOption, err, fail, print_json, say, settings_of
from gateway.clock import SystemClock
from gateway.files import write_private
from gateway.settings import Settings

_KEY_REMARK = "# The secret key of the backups of a TMTP gateway. Who has it reads them; without it nobody does.\n"


def backup(
    config: ConfigOption = Path("gateway.yaml"),
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER|FILE.tmtpbackup", help="Where to; default: backup.to of the settings."),
    ] = None,
    recipient: Annotated[
        str | None, typer.Option(metavar="PUBLIC-KEY", help="For whom; default: backup.recipient of the settings.")
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="INSTANCE", help="Take all but this one's database, which is in PostgreSQL."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take a backup, whether the gateway runs or not: encrypted, read again and checked before it has its name.

    Exit code 1: there is no new backup, or messages had lost their payloads before it was taken.

    Example: tmtp-gateway backup -c gateway.yaml

    Example: tmtp-gateway backup -c gateway.yaml --to /media/stick --recipient tmtp-backup-public:…
    """
    from gateway.backup.taking import BackupFailed, Taking, take_backup  # noqa: PLC0415 - only this command needs it

    settings = settings_of(config)
    key = _recipient(settings, recipient)
    left_out = _left_out(settings, tuple(leave_out or ()))
    own = to is None
    taking = Taking(
        settings,
        config,
        settings.backup.to if to is None else to,
        key,
        version("tmtp-gateway"),
        left_out,
        keep=settings.backup.keep if own else None,
        journal_folder=settings.backup.journal_folder if settings.backup.recipient is not None else None,
    )
    if not settings.data_dir.is_dir():
        fail(f"{settings.data_dir} is not there: this gateway has never run, and there is nothing to back up", FAILED)
    try:
        with _shown("Backing up", _size_of(settings), as_json=as_json) as progress:
            taken = take_backup(taking, SystemClock(), os.urandom, progress)
    except BackupFailed as failed:
        if as_json:
            print_json({"ok": False, "error": str(failed)})
            raise typer.Exit(FAILED) from None
        fail(f"no backup was made: {failed}", FAILED)
    if as_json:
        print_json(
            {
                "ok": not taken.missing,
                "file": str(taken.file),
                "size": taken.size,
                "files": taken.files,
                "made_ms": taken.made_ms,
                "removed": [str(path) for path in taken.removed],
                "missing": list(taken.missing),
                "left_out": list(left_out),
            }
        )
    else:
        say(f"{taken.file}: {taken.files} files, {taken.size} octets, read again and whole")
        for path in taken.removed:
            say(f"removed {path}: {settings.backup.keep} newer ones are kept")
        for name in left_out:
            say(f"left out: the database of {name}; back it up with PostgreSQL's own tools (docs/backup.md)")
    if taken.missing and not as_json:
        fail(
            f"{len(taken.missing)} payloads are missing that messages need: they were lost before; tmtp-gateway doctor "
            "names them",
            FAILED,
        )
    if taken.missing:
        raise typer.Exit(FAILED)


def backup_key(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the secret key goes; default: it is printed, once.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the key pair of backups: the public key for the settings, the secret one to be kept away from this machine.

    Example: tmtp-gateway backup-key --out /media/stick/backup.key
    """
    secret = new_secret(os.urandom)
    public = public_text(secret.public_key)
    if out is not None:
        if out.exists():
            fail(f"{out} is there already, and what was encrypted for its key would be lost with it", USAGE)
        try:
            write_private(out, (_KEY_REMARK + secret_text(secret) + "\n").encode())
        except OSError as error:
            fail(f"{out} cannot be written: {error.strerror}", FAILED)
    if as_json:
        print_json({"public": public, "file": str(out)} if out else {"public": public, "secret": secret_text(secret)})
        return
    if out is None:
        say("The secret key. Keep it where this machine cannot be lost with it; it is shown only now:")
        say(f"    {secret_text(secret)}")
    else:
        say(f"The secret key is in {out}: take it away from this machine; without it no backup can be read.")
    say("The public key, for the settings:")
    say(f"    backup: {{recipient: {public!r}}}")


def restore(
    backup: Annotated[Path, typer.Argument(metavar="BACKUP")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The file with the secret key.")],
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The data folder to make; default: data_dir of the settings.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The settings, where they are still there.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The journal; default: of the settings, or BACKUP's folder."),
    ] = None,
    without_journal: Annotated[
        bool, typer.Option("--without-journal", help="Do without it: who was barred since is barred no more.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back into a folder that is empty or not there, and what the journal knows of the time since.

    Stop the gateway that was restored before, if it still runs somewhere: two are one too many.

    Example: tmtp-gateway restore tmtp-20261126T060000000Z.tmtpbackup --key backup.key --to data
    """
    from gateway.backup.restoring import RestoreFailed, Restoring, restore  # noqa: PLC0415 - only this command needs it

    settings = settings_of(config) if config is not None else None
    target = to if to is not None else settings.data_dir if settings is not None else None
    if target is None:
        fail("where to? Give --to FOLDER, or -c FILE, whose data_dir it is", USAGE)
    if journal is not None and without_journal:
        fail("--journal and --without-journal: give one of them", USAGE)
    journals = journal or (settings.backup.journal_folder if settings is not None else backup.parent)
    try:
        secret = read_secret(key)
    except BackupKeyInvalid as invalid:
        fail(str(invalid), USAGE)
    except OSError as error:
        fail(f"{key} cannot be read: {error.strerror}", USAGE)
    try:
        size = backup.stat().st_size if backup.exists() else 0
        with _shown("Restoring", size, as_json=as_json) as progress:
            restored = restore(
                Restoring(backup, secret, target.absolute(), None if without_journal else journals),
                SystemClock(),
                progress,
            )
    except RestoreFailed as failed:
        if as_json:
            print_json({"ok": False, "error": str(failed)})
            raise typer.Exit(FAILED) from None
        fail(f"nothing was restored: {failed}", FAILED)
    header = restored.header
    if as_json:
        print_json(
            {
                "ok": True,
                "folder": str(target),
                "files": restored.files,
                "made_ms": header.made_ms,
                "instances": list(header.instances),
                "left_out": list(header.left_out),
                "facts": restored.facts,
                "remarks": restored.remarks,
            }
        )
        return
    say(f"{target}: {restored.files} files, as they were at {_moment(header.made_ms)}")
    for name, count in restored.facts.items():
        say(f"{name}: {count} later acts from the journal")
    for name in header.left_out:
        say(f"{name}: its database is not in this backup; restore it with PostgreSQL's own tools (docs/backup.md)")
    for remark in restored.remarks:
        say(f"mind: {remark}")
    say(f"The settings, and the files elsewhere that they name, are in {target / 'settings-of-backup'}.")


def _recipient(settings: Settings, given: str | None) -> PublicKey:
    text = given or settings.backup.recipient
    if text is None:
        fail(
            "for whom? Make a key pair with tmtp-gateway backup-key, and put the public key under backup: recipient:, "
            "or give --recipient",
            USAGE,
        )
    try:
        return parse_public(text)
    except BackupKeyInvalid as invalid:
        fail(str(invalid), USAGE)


def _left_out(settings: Settings, named: tuple[str, ...]) -> tuple[str, ...]:
    """Instances whose databases are in PostgreSQL: only when the administrator says that he knows."""
    elsewhere = tuple(one.name for one in settings.instances if one.database is not None)
    for name in named:
        if name not in elsewhere:
            fail(f"--leave-out {name}: no instance of this name keeps its data in PostgreSQL", USAGE)
    for name in elsewhere:
        if name not in named:
            fail(
                f"instance {name} keeps its messages in PostgreSQL, which this command cannot take at one moment with "
                "its payloads. Back it up with PostgreSQL's own tools (pg_basebackup and its log archive: "
                f"docs/backup.md says how), and everything else with --leave-out {name}",
                FAILED,
            )
    return elsewhere


def _size_of(settings: Settings) -> int:
    """About how many octets there are to do: copied, written, and read again."""
    size = 0
    for folder, _, names in os.walk(settings.data_dir):
        for name in names:
            try:
                size += (Path(folder) / name).stat().st_size * (3 if name.endswith(".sqlite3") else 2)
            except OSError:  # it has gone, or cannot be read: the backup will say so
                continue
    return size


@contextmanager
def _shown(title: str, total: int, *, as_json: bool) -> Iterator[Callable[[str, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True, disable=as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=total)

        def progress(step: str, octets: int) -> None:
            bar.update(task, description=f"{title}: {step}", advance=octets)

        yield progress


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
