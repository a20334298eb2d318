# SPDX-License-Identifier: AGPL-3.0-or-later
"""QR codes of invitations: SVG in the page, so that no link is ever the address of a picture (A1)."""

from collections.abc import Iterable

from markupsafe import Markup


def qr(text: str, says: str) -> Markup:
    """`text` as a QR code with medium error correction, in black on white; `says` is what a screen reader says."""
    import segno  # noqa: PLC0415 - it takes 2 MB, and few pages have codes

    made = segno.make_qr(text, error="m")
    width, height = made.symbol_size(border=4)
    rows = made.matrix_iter(border=4)
    path = "".join(_row(y, row) for y, row in enumerate(rows))
    return Markup(
        '<svg class="qr" role="img" aria-label="{}" viewBox="0 0 {} {}" shape-rendering="crispEdges">'
        '<path d="{}"/></svg>'
    ).format(says, width, height, path)


def _row(y: int, row: Iterable[int]) -> str:
    """The dark runs of one row, as strokes of width one."""
    path = ""
    start: int | None = None
    for x, dark in enumerate([*row, 0]):
        if dark and start is None:
            start = x
        elif not dark and start is not None:
            path += f"M{start} {y}.5h{x - start}"
            start = None
    return path
