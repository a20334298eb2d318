# SPDX-License-Identifier: AGPL-3.0-or-later
"""The documentation as a site: every link and anchor leads somewhere, and a page loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("audio", "src"),
          ("embed", "src"), ("object", "data"), ("use", "href"), ("image", "href"), ("img", "srcset"), ("source", "srcset")}  # fmt: skip
LISTED = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
PAGES = [ROOT / name for name in LISTED.split("\0") if name and (ROOT / name).exists()] or sorted(
    ROOT.glob("docs/**/*.md")
)


class Loads(HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.addresses += [value for name, value in values.items() if (tag, name) in LOADED]
        if tag == "link" and values.get("rel") not in {"canonical", "prev", "next"}:
            self.addresses.append(values.get("href", ""))
        self.addresses += re.findall(r"url\(([^)]+)\)", values.get("style", ""))


def elsewhere(addresses: list[str]) -> list[str]:
    return [one for one in addresses if re.match(r"\s*['\"]?\s*(https?:|//|ftp:|wss?:)", one)]


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        assert elsewhere(Loads(page.read_text("utf-8")).addresses) == [], page
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert elsewhere(re.findall(r"url\(([^)]+)\)", text) + re.findall(r"@import\s+([^;]+)", text)) == [], style
    assert "tls: {certificate: null" in re.sub(
        "<[^>]+>", "", (site / "repository/config/gateway.yaml.html").read_text("utf-8")
    )


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    page = '<link rel="stylesheet" href="https://fonts.example/x.css"><script src=//x></script><a href="https://ok.example">'
    assert len(elsewhere(Loads(page + '<p style="background: url(http://x)">').addresses)) == 3


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as readers of repositories make them."""
    found: set[str] = set()
    text = re.sub(r"^(`{3,}).*?^\1`*\s*$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading).lower()
        kept = "".join(one for one in bare if one in " -_" or unicodedata.category(one)[0] in "LNM")
        found.add(kept.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_the_repository_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^(`{3,}).*?^\1`*\s*$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / unquote(path)).resolve() if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), target
