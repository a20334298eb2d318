# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mistakes of a settings file, shown where they stand."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from gateway.settings import Problem


def print_problems(console: Console, file: Path, problems: list[Problem]) -> None:
    """Print each mistake with its line, a caret below its place, what is wrong and what would be right."""
    lines = file.read_text("utf-8", errors="replace").splitlines()
    for problem in problems:
        where = f"{file}:{problem.line}:{problem.column}"
        console.print(Text.assemble((where, "bold"), " ", problem.path), soft_wrap=True)
        if 0 < problem.line <= len(lines):
            console.print(Text(f"    {lines[problem.line - 1]}"), soft_wrap=True)
            console.print(Text(f"    {' ' * (problem.column - 1)}^", "red"), soft_wrap=True)
        console.print(Text.assemble("  wrong: ", problem.wrong), soft_wrap=True)
        console.print(Text.assemble("  right: ", problem.right), soft_wrap=True)
    count = len(problems)
    console.print(f"{count} mistake{'' if count == 1 else 's'}; nothing was started.", style="red")
