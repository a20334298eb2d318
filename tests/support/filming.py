# SPDX-License-Identifier: AGPL-3.0-or-later
"""Films of what a browser shows, where TMTP_TEST_VIDEO=1 asks for them: WebM in var/videos, which is never committed.

Playwright films with an ffmpeg of its own, which it would fetch from where only some machines get. Debian's does the same;
it is looked for in a folder like the one in which Playwright keeps what it fetched.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import playwright
from playwright.sync_api import Page, ViewportSize

_ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = _ROOT / "var" / "videos"
_PLAYWRIGHT: Final = Path(playwright.__file__).parent / "driver" / "package" / "browsers.json"
_FFMPEG: Final = shutil.which("ffmpeg")
WANTED: Final = os.environ.get("TMTP_TEST_VIDEO") == "1" and _FFMPEG is not None
"""Without ffmpeg there is no film; what would have been filmed is done all the same."""


def prepare() -> None:
    """Have Playwright find Debian's ffmpeg. Before Playwright is started."""
    if not WANTED:
        return
    assert _FFMPEG is not None
    browsers = json.loads(_PLAYWRIGHT.read_text("utf-8"))["browsers"]
    [revision] = [one["revision"] for one in browsers if one["name"] == "ffmpeg"]
    found = _ROOT / ".cache" / "playwright" / f"ffmpeg-{revision}" / "ffmpeg-linux"
    found.parent.mkdir(parents=True, exist_ok=True)
    made = found.with_name(f"made-by-{os.getpid()}")  # several do this at once
    made.symlink_to(_FFMPEG)
    made.replace(found)
    os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(found.parents[1])


def of_context(size: ViewportSize) -> dict[str, Any]:
    """What a new context is given, so that its pages are filmed."""
    return {"record_video_dir": FOLDER, "record_video_size": size} if WANTED else {}


def keep(pages: Sequence[Page], name: str) -> None:
    """The films of these, whose context is closed, are called by this name, and by a number where there are more."""
    films = [page.video for page in pages if page.video is not None] if WANTED else []
    for number, film in enumerate(films, 1):
        made = Path(film.path())
        made.replace(made.with_name(f"{name}-{number}.webm" if len(films) > 1 else f"{name}.webm"))
