# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is typed behind `tmtp search`: a query whose words may begin with a minus, and options among them."""

import re
from collections.abc import Sequence
from typing import Any, Final

from typer.core import TyperCommand

_OPERATOR: Final = re.compile(r"-?(?:from|to|in|has|before|after|tag):", re.IGNORECASE)
_NUMBER: Final = re.compile(r"-n=?[0-9]+")


class QueryCommand(TyperCommand):
    """Takes `-word` for a word of the query, and its own options only for options: `-n 5`, `-n5`, never `-note`.

    What looks like a long option and is none is refused, as everywhere; behind `--` everything is a word.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options first, so that click sees no word that begins with a minus as one."""
        known = {name: takes for one in self.get_params(ctx) for name, takes in _names(one)}
        options: list[str] = []
        words: list[str] = []
        left = list(args)
        while left:
            one = left.pop(0)
            if one == "--":
                words += left
                break
            if known.get(one) and not left:
                return self._parsed(ctx, [one])  # which says that its value is missing
            if one in known:
                options += [one, *(left[:1] if known[one] else ())]
                left = left[1:] if known[one] else left
            elif one.startswith("--") or _NUMBER.fullmatch(one):
                options.append(one)
            else:
                words.append(one)
        return self._parsed(ctx, [*options, "--", *words])

    def _parsed(self, ctx: Any, args: list[str]) -> list[str]:
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def _names(parameter: Any) -> list[tuple[str, bool]]:
    """What an option is called, and whether a value follows it; an argument is no option."""
    if parameter.param_type_name != "option":
        return []
    return [(name, not parameter.is_flag) for name in (*parameter.opts, *parameter.secondary_opts)]


def query_of(words: Sequence[str]) -> str:
    """One query. What the shell took as one word, blanks and all, is a phrase, or a name behind its operator, unless it
    is a query of its own.
    """
    return " ".join(map(_one, words))


def _one(word: str) -> str:
    if " " not in word.strip() or '"' in word:
        return word
    found = _OPERATOR.match(word)
    begins = found[0] if found else "-" if word.startswith("-") else ""
    rest = word[len(begins) :]
    if any(one.startswith("-") or _OPERATOR.match(one) for one in rest.split()):
        return word
    return f'{begins}"{rest}"'
