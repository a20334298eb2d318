# SPDX-License-Identifier: AGPL-3.0-or-later
"""A hook of MkDocs: what the documentation links to in the repository becomes pages of the site, too.

The pages in docs/ are written to be read in the repository, where `../config/gateway.yaml` is a file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
_REPOSITORY = "repository"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file and folder outside of the pages that one of them links to."""
    docs = Path(config.docs_dir)
    wanted = {
        target
        for file in list(files.documentation_pages())
        for link, _ in _LINK.findall(file.content_string)
        if (target := _outside(docs, file.src_uri, link))
    }
    for target in sorted(wanted):
        files.append(File.generated(config, _page(target), content=_content(docs.parent, target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to the repository to those pages."""

    def led(found: re.Match[str]) -> str:
        target = _outside(Path(config.docs_dir), page.file.src_uri, found[1])
        if not target:
            return found[0]
        here = posixpath.dirname(page.file.src_uri)
        return f"]({posixpath.relpath(_page(target), here)}{found[2] or ''})"

    if page.file.src_uri.startswith(f"{_REPOSITORY}/"):
        return markdown
    return _LINK.sub(led, markdown)


def _outside(docs: Path, page: str, link: str) -> str:
    """What a link of a page leads to, from the repository's root, if there is such a thing and it is no page."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    there = docs.parent / target
    is_page = there.is_file() and target.startswith("docs/")
    return "" if target.startswith("..") or is_page or not there.exists() else target


def _page(target: str) -> str:
    return f"{_REPOSITORY}/{target}.md".replace(".md.md", ".md")


def _content(root: Path, target: str) -> str:
    there = root / target
    if there.is_dir():
        names = sorted(path.name for path in there.iterdir() if not path.name.startswith(("__", ".")))
        if target.startswith("docs/"):
            base = posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(_page(target)))
            entries = [f"- [{_title(there / name)}]({base}/{name})" for name in names]
        else:
            entries = [f"- `{name}`" for name in names]
        return f"# {there.name.capitalize()}\n\n" + "\n".join(entries) + "\n"
    text = there.read_text("utf-8")
    if there.suffix == ".md":
        return text
    language = there.suffix.removeprefix(".")
    return f"# {target}\n\n````{language}\n{text}\n````\n"


def _title(page: Path) -> str:
    """The first heading of a page."""
    return page.read_text("utf-8").partition("\n")[0].removeprefix("# ")
