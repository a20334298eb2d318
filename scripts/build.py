# SPDX-License-Identifier: AGPL-3.0-or-later
"""Wheel and source archive of the files that git tracks: the same bytes in every folder and at every time.

What could differ is taken away: times are the commit's (SOURCE_DATE_EPOCH), modes are 0644 or 0755, owners nobody's,
entries sorted, the tools that build are those of scripts/build-constraints.txt.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "scripts" / "build-constraints.txt"


class BuildFailed(Exception):
    """It cannot be built; the text says why."""


def main() -> int:
    """The command line: where the archives go."""
    out = Path(sys.argv[1]).resolve()
    try:
        for made in build(ROOT, out):
            sys.stdout.write(f"{made}\n")
    except BuildFailed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    return 0


def build(root: Path, out: Path) -> list[Path]:
    """Build what is in `root`, with what is changed there and not committed yet."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmtp-build-") as folder:
        source, made = Path(folder) / "source", Path(folder) / "made"
        copy_tracked(root, source)
        epoch = commit_time(root)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "SOURCE_DATE_EPOCH": str(epoch),
            "PIP_CONSTRAINT": CONSTRAINTS.as_uri(),  # pip parts a plain path at its blanks
            "PYTHONHASHSEED": "0",
        }
        command = [sys.executable, "-m", "build", "--outdir", str(made), str(source)]
        # umask: setuptools writes files of its own into the archives
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o022)
        if done.returncode != 0:
            raise BuildFailed(f"the build failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        for archive in made.glob("*.tar.gz"):
            archive.write_bytes(normalised(archive.read_bytes(), epoch))
        return [Path(shutil.copy(file, out / file.name)) for file in sorted(made.iterdir())]


def copy_tracked(root: Path, to: Path) -> None:
    """The files that git tracks, with the modes that git knows: nothing that happens to lie beside them."""
    listed = git(root, "ls-files", "-z", "--stage").split("\0")
    for entry in filter(None, listed):
        about, name = entry.split("\t", 1)
        if not (root / name).is_file():
            continue  # deleted, and not committed
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)
        target.chmod(0o755 if about.startswith("100755") else 0o644)
    for folder in (to, *(path for path in to.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def commit_time(root: Path) -> int:
    """When the last commit was made, in seconds since 1970."""
    return int(git(root, "log", "-1", "--format=%ct"))


def git(root: Path, *arguments: str) -> str:
    """What git says. Raises `BuildFailed` where there is no repository."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode != 0:
        raise BuildFailed(f"releases are built from the git repository: {done.stderr.strip()}")
    return done.stdout


def normalised(archive: bytes, epoch: int) -> bytes:
    """A tar.gz with the same files, and nothing in it that tells where and when it was made."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as given,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as told,
    ):
        for member in sorted(given.getmembers(), key=lambda one: one.name):
            if not (member.isfile() or member.isdir()):
                raise BuildFailed(f"{member.name} is neither a file nor a folder")
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            told.addfile(member, given.extractfile(member) if member.isfile() else None)
    zipped = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=zipped, mode="wb", mtime=epoch) as file:
        file.write(plain.getvalue())
    return zipped.getvalue()


if __name__ == "__main__":
    sys.exit(main())
