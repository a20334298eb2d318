# SPDX-License-Identifier: AGPL-3.0-or-later
"""Find messages: words, "phrases", pref*, -without, and operators (B1). Any text is a query; none is an error.

`from:` and `to:` (a name, a uid, `me`), `in:` (words of a thread's subject, a group, `inbox`, `archive`), `has:`
(`file`, `form`, `link`, `image`), `before:` and `after:` (a year, month or day; the day itself is after it), `tag:`. A
minus before any of them, or before a word or phrase, turns it round. All must hold.

Best first, by BM25 with a word of the subject or a name worth more than one of the text; where that says about the
same, the newer first. Of more than `limits.SEARCH_RANKED_MAX` the newest are ranked, and no more are given.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import people, views
from tmtp_client.store.index import EVERY, key
from tmtp_client.store.tables import group, message, tag, thread
from tmtp_client.store.words import Phrase, fold, phrase, snippet, words

_ITEM: Final = re.compile(
    r"(?P<minus>-)?(?:(?P<name>from|to|in|has|before|after|tag):)?"
    r'(?:"(?P<quoted>[^"]*)(?P<closed>"?)(?P<star>\*?)|(?P<bare>[^\s"]+))',
    re.IGNORECASE,
)
_TYPED: Final = str.maketrans({"“": '"', "”": '"', "„": '"', "＂": '"', "：": ":", "＊": "*", "－": "-", "\0": " "})
_DAY: Final = re.compile(r"(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?")
_HAS: Final = frozenset({"file", "form", "link", "image"})
_WEIGHTS: Final = "8.0, 1.0, 4.0, 3.0, 2.0, 0.0"  # of subject, text, names, files, topic, keys
_ME: Final = "me"
_AROUND: Final = text(  # the plus and the name of the index: else all is read, for a number that stands at one end
    "SELECT (SELECT max(+number) FROM message INDEXED BY message_by_time WHERE posted < :day), "
    "(SELECT min(+number) FROM message INDEXED BY message_by_time WHERE posted >= :day)"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """An operator. `value`: of dates the service's text of their first millisecond."""

    name: str
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What a person asked for. `problem`: what was not understood, in words; it is taken as words, or left out."""

    wanted: tuple[Phrase, ...] = ()
    unwanted: tuple[Phrase, ...] = ()
    filters: tuple[Filter, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found. `score`: the less the better."""

    score: float
    posted: str
    found: models.Found


@dataclass(frozen=True, slots=True)
class Hits:
    """What one account's search found, best first."""

    hits: tuple[Hit, ...] = ()
    more: bool = False
    problem: str = ""


# -- what is asked ---------------------------------------------------------------------------------------------------
def parse(text: str, zone: tzinfo | None = UTC) -> Query:
    """A query as a person typed it. `zone`: in which days begin; None: this device's. Never raises."""
    problems: list[str] = []
    if len(text) > limits.QUERY_CHARS_MAX:
        problems.append(f"Only the first {limits.QUERY_CHARS_MAX} characters of the query are looked for.")
    wanted: list[Phrase] = []
    unwanted: list[Phrase] = []
    filters: list[Filter] = []
    for number, item in enumerate(_ITEM.finditer(text[: limits.QUERY_CHARS_MAX].translate(_TYPED))):
        if number >= limits.QUERY_ITEMS_MAX:
            problems.append(f"Only the first {limits.QUERY_ITEMS_MAX} words of the query are looked for.")
            break
        quoted, bare = item["quoted"], item["bare"]
        if quoted is not None and not item["closed"]:
            problems.append("A quotation mark has no other one: what follows it is taken as one phrase.")
        value = bare if quoted is None else quoted
        if item["name"]:
            made = _operator(item["name"].lower(), value, bool(item["minus"]), zone)
            if isinstance(made, Filter):
                filters.append(made)
                continue
            problems.append(made)
        star = bool(item["star"]) if quoted is not None else value.endswith("*")
        one = phrase(f"{item['name']} {value}" if item["name"] else value, star)
        if one is not None:
            (unwanted if item["minus"] else wanted).append(one)
    return Query(tuple(wanted), tuple(unwanted), tuple(filters), " ".join(dict.fromkeys(problems)))


def _operator(name: str, value: str, negated: bool, zone: tzinfo | None) -> Filter | str:
    """What an operator means, or why it means nothing."""
    if name in {"before", "after"}:
        day = _first_of(value, zone)
        if day is None:
            return f'"{name}:{value}" is no date; a date is 2025, 2025-03 or 2025-03-31.'
        return Filter(name, day, negated)
    if name == "has":
        what = fold(value)
        return Filter(name, what, negated) if what in _HAS else f'"has:{value}": known are file, form, link and image.'
    if not words(value):
        return f'"{name}:" stands without a name.'
    return Filter(name, value, negated)


def _first_of(text: str, zone: tzinfo | None) -> str | None:
    """The first millisecond of a year, month or day, as the service writes it."""
    given = _DAY.fullmatch(text)
    if given is None:
        return None
    try:
        day = datetime(int(given[1]), int(given[2] or 1), int(given[3] or 1), tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError, OSError):  # whatever the system's rules for time say of such a year
        return None
    return day.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- what is found ---------------------------------------------------------------------------------------------------
class _Plan:
    """A query as the database is asked: an expression for the index, and conditions on messages."""

    def __init__(self, connection: Connection, query: Query) -> None:
        self.connection = connection
        self.ranked = bool(query.wanted)
        self.match = [one.match() for one in query.wanted]
        self.no_match = [one.match() for one in query.unwanted]
        self.where: list[str] = []
        self.values: dict[str, object] = {}
        self.problems = [query.problem] if query.problem else []
        self.impossible = False

    def indexed(self, expression: str, negated: bool) -> None:
        """A condition that the index knows."""
        (self.no_match if negated else self.match).append(expression)

    def keyed(self, kind: str, names: Sequence[str], filter: Filter, nobody: str) -> None:
        """One of these names must stand as this kind of key. `nobody`: what is said where there are none."""
        if len(names) > limits.QUERY_NAMES_MAX:
            names = names[: limits.QUERY_NAMES_MAX]
            self.problems.append(f'"{filter.name}:{filter.value}" fits too many names; some are left out.')
        if names:
            self.indexed(_any_of(f'"{key(kind, name)}"' for name in names), filter.negated)
        else:
            self.nothing(filter, nobody)

    def on_message(self, condition: str, value: object, negated: bool = False) -> None:
        """A condition on the message's row: `:?` in it stands for the value."""
        name = f"value_{len(self.values)}"
        self.values[name] = value
        asked = condition.replace(":?", f":{name}")
        self.where.append(f"NOT ({asked})" if negated else asked)

    def in_threads(self, threads: str, value: object, negated: bool) -> None:
        """Only messages of these threads (a SELECT). Few messages are named to the index, which is faster."""
        if not negated:
            numbers = f"SELECT number FROM message WHERE thread IN ({threads.replace(':?', ':value')}) LIMIT :limit"  # noqa: S608
            few = {"value": value, "limit": limits.SEARCH_NAMED_MAX + 1}
            found = self.connection.scalars(text(numbers), few).all()
            if len(found) <= limits.SEARCH_NAMED_MAX:
                self.impossible |= not found
                self.on_message("NUMBER IN (SELECT value FROM json_each(:?))", json.dumps(list(found)))
                return
        self.on_message(f"m.thread IN ({threads})", value, negated)

    def posted(self, before: bool, day: str) -> None:
        """Only messages of before, or from, this time. Messages come about in the order of their times: so this bounds
        their numbers; and where they came exactly so, it is no more than that.
        """
        highest, lowest = self.connection.execute(_AROUND, {"day": day}).one()
        bound = highest if before else lowest
        if bound is None:
            self.impossible = True
            return
        self.on_message("NUMBER <= :?" if before else "NUMBER >= :?", bound)
        if highest is not None and lowest is not None and highest > lowest:
            self.on_message("m.posted < :?" if before else "m.posted >= :?", day)

    def nothing(self, filter: Filter, why: str) -> None:
        """No message can be so."""
        self.problems.append(why)
        self.impossible |= not filter.negated

    def statement(self) -> str:
        """Numbers and scores of what is found, best first."""
        where = "".join(f" AND {one}" for one in self.where)
        if not self.match and not self.no_match:
            where = where.replace("NUMBER", "m.number")
            return (
                f"SELECT m.number, 0.0 AS score FROM message AS m WHERE 1{where} ORDER BY m.posted DESC, m.id DESC "  # noqa: S608
                "LIMIT :limit OFFSET :skip"
            )
        join = "JOIN message AS m ON m.number = search.rowid" if "m." in where else ""
        score = f"round(bm25(search, {_WEIGHTS}), 1)" if self.ranked else "0.0"
        where = where.replace("NUMBER", "search.rowid")
        return (
            f"SELECT number, score FROM (SELECT search.rowid AS number, {score} AS score FROM search {join} "  # noqa: S608
            f"WHERE search MATCH :match{where} ORDER BY search.rowid DESC LIMIT :ranked) "
            "ORDER BY score, number DESC LIMIT :limit OFFSET :skip"
        )

    def expression(self) -> str:
        """What the index is asked."""
        asked = " AND ".join(self.match or (f'"{EVERY}"',))
        return f"({asked})" + "".join(f" NOT ({one})" for one in self.no_match)


def _any_of(expressions: Any) -> str:
    return f"({' OR '.join(expressions)})"


def find(connection: Connection, query: Query, *, account: str = "", limit: int = 50, skip: int = 0) -> Hits:
    """What was found, best first. Of a long message the beginning of its text alone is given; `messages.view` has all.

    A query without anything to look for finds nothing.
    """
    limit, skip = max(1, min(limit, limits.SEARCH_RANKED_MAX)), max(0, min(skip, limits.SEARCH_RANKED_MAX))
    plan = _Plan(connection, query)
    for filter in query.filters:
        _FILTERS[filter.name](connection, plan, filter)
    problem = " ".join(plan.problems)
    if plan.impossible or not (query.wanted or query.unwanted or query.filters):
        return Hits(problem=problem)
    values = {"limit": limit + 1, "skip": skip, "ranked": limits.SEARCH_RANKED_MAX, **plan.values}
    if plan.match or plan.no_match:
        values["match"] = plan.expression()
    rows = connection.execute(text(plan.statement()), values).all()
    hits = _shown(connection, account, {row.number: row.score for row in rows[:limit]}, query.wanted)
    return Hits(hits, len(rows) > limit and skip + limit < limits.SEARCH_RANKED_MAX, problem)


def merged(parts: Sequence[Hits], *, limit: int, skip: int = 0) -> models.Results:
    """One answer of what several accounts found, each asked for `skip + limit` from the first."""
    hits = sorted((hit for part in parts for hit in part.hits), key=lambda hit: hit.posted, reverse=True)
    hits.sort(key=lambda hit: hit.score)
    shown = hits[skip : skip + limit]
    more = len(hits) > skip + limit or any(part.more for part in parts)
    problem = " ".join(dict.fromkeys(part.problem for part in parts if part.problem))
    return models.Results(tuple(hit.found for hit in shown), more, problem)


def _shown(
    connection: Connection, account: str, scores: dict[int, float], phrases: Sequence[Phrase]
) -> tuple[Hit, ...]:
    """The messages of these numbers, in their order."""
    columns = [one for one in message.c if one.name != "text"]
    text_begins = func.substr(message.c.text, 1, limits.SNIPPET_SCAN_MAX).label("text")
    asked = select(*columns, text_begins).where(views.among(message.c.number, scores.keys()))
    rows = {row.number: row for row in connection.execute(asked)}
    order: list[Any] = [rows[number] for number in scores if number in rows]
    topics = select(thread.c.id, thread.c.subject).where(views.among(thread.c.id, (row.thread for row in order)))
    subjects = {row.id: row.subject for row in connection.execute(topics)}
    return tuple(
        Hit(
            scores[row.number],
            one.posted,
            models.Found(account, one, one.subject or subjects.get(one.thread, ""), snippet(one.text, phrases)),
        )
        for row, one in zip(order, views.messages_of(connection, order), strict=True)
    )


# -- operators -------------------------------------------------------------------------------------------------------
def _from(connection: Connection, plan: _Plan, filter: Filter) -> None:
    nobody = f'Nobody here is called "{filter.value}".'
    plan.keyed("a", _uids(connection, filter.value), filter, nobody)


def _to(connection: Connection, plan: _Plan, filter: Filter) -> None:
    if fold(filter.value) == _ME:
        for uid in people.own_uids(connection):
            plan.indexed(f'"{key("a", uid)}"', not filter.negated)
        return
    names = [*_uids(connection, filter.value), *_gids(connection, filter.value)]
    plan.keyed("r", names, filter, f'Nobody here, and no group, is called "{filter.value}".')


def _in(connection: Connection, plan: _Plan, filter: Filter) -> None:
    where = fold(filter.value)
    if where in {"inbox", "archive", "archived"}:
        archived = "SELECT id FROM thread WHERE archived = :?"
        plan.in_threads(archived, 1, filter.negated != (where == "inbox"))
        return
    one = phrase(filter.value)
    assert one is not None  # parse leaves such a filter out
    either = [f"{{subject topic}} : {one.match()}"]
    either += [f'"{key("g", gid)}"' for gid in _gids(connection, filter.value)[: limits.QUERY_NAMES_MAX]]
    plan.indexed(_any_of(either), filter.negated)


def _has(connection: Connection, plan: _Plan, filter: Filter) -> None:
    plan.indexed(f'"{key("h", filter.value)}"', filter.negated)


def _before(connection: Connection, plan: _Plan, filter: Filter) -> None:
    plan.posted(not filter.negated, filter.value)


def _after(connection: Connection, plan: _Plan, filter: Filter) -> None:
    plan.posted(filter.negated, filter.value)


def _tag(connection: Connection, plan: _Plan, filter: Filter) -> None:
    wanted = fold(filter.value)
    names = [name for name in connection.scalars(select(tag.c.name).distinct()) if fold(name) == wanted]
    if not names:
        plan.nothing(filter, f'There is no tag "{filter.value}".')
        return
    tagged = "SELECT thread FROM tag WHERE name IN (SELECT value FROM json_each(:?))"
    plan.in_threads(tagged, json.dumps(names), filter.negated)


_FILTERS: Final[dict[str, Callable[[Connection, _Plan, Filter], None]]] = {
    "from": _from,
    "to": _to,
    "in": _in,
    "has": _has,
    "before": _before,
    "after": _after,
    "tag": _tag,
}


def _uids(connection: Connection, name: str) -> list[str]:
    """Of whom `name` is the uid, or the beginnings of words of an alias; `me`: one's own."""
    if fold(name) == _ME:
        return people.own_uids(connection)
    exact = people.uid_of(connection, name)
    return [exact] if exact is not None else sorted(people.uids_named(connection, name))


def _gids(connection: Connection, name: str) -> list[str]:
    """The groups whose name has words that begin so."""
    wanted = words(name)
    return [gid for gid in connection.scalars(select(group.c.gid)) if people.begins(words(gid), wanted)]
