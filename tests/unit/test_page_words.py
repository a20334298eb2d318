# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages' two languages are complete (issue 7): each has every word with what is put into it, the pages use every word
that there is and none that there is not, and what the engine and the service can say is there in the other language, too
(docs/decisions/0029).
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.sentences import ROOT, of_client, of_protocol, of_service
from tmtp_client.api.operations import BY_NAME

WEB: Final = ROOT / "tmtp_client" / "web"
PUT_IN: Final = re.compile(r"\{(\w+)\}")

COMPOSED: Final = frozenset(
    {
        "the connection to the engine broke; look whether it was done",  # of the pages themselves: base/api.js
        "the sign-in has ended; sign in again",  # behind a colon
        "To revoke it takes the recovery sheet: {majority}.",
        "To revoke it or to lift its suspension takes the recovery sheet: {majority}.",
        "this is not the passphrase; the 24 words of a recovery sheet open it, too",
        "no passphrase was set; the 24 words of a recovery sheet open it, too",
        "fetchUser: invalid string '{text}'",
        "nobody has the alias",  # as a service adds them to what it refuses
        "the recipient has no device with a key yet",
        *("yours", "your", "their", "{name}'s", "1 change", "first", "second"),  # pieces of one word
        *("provisional", "suspended", "revoked"),
    }
)
"""What is put together where it is said, or is too short to be found by itself."""

UNTOLD: Final = frozenset(
    {
        "… on unauthenticated link",
        "… on connected link",
        "login ok",
        "logout ok",
        "{}",
        "key: {}",
        "alias",
        "gid",
        "failed pings",
        "cut off",
        "address form",
        "signed out",
        "text/plain; charset=utf-8",
        "bytes {}-{}/{}",
        "{}; filename*=UTF-8''{}",
        "{subject topic} : {}",
        "round(bm25(search, {}), 1)",
        "log {}",
        "link {}",
        "block {}",
        "prekey {}",
        "{} at {}",
        "Composed({} octets)",
        "DaemonFile(pid={}, url={})",
        "Multiple exceptions",
        "Object missing required field `",
        "Object contains unknown field `",
        "u:sealed message",
        "moved on",
        "the same",
        "it knows less",
        "another log",
        "not a member",
        "data too long",
        "a bridge may",
        "try again",
        "(given up)",
        "no code",
        # put together of what is translated
        "the service says: {}{}",
        ": the sign-in has ended; sign in again",
        "; the 24 words of a recovery sheet open it, too",
        "To revoke it",
        "or to lift its suspension",
        "{} takes the recovery sheet: {}.",
        "and {}",
        # of bridges, and of a program that is wrong
        "a members instance has no bridges (A1, C2)",
        "a bridge names in `as` for whom it speaks",
        "a ghost whose bridge is not known",
        "a record of an account's log that does not continue it",
        "invalid header from the service: {}",
        "not all that was announced was sealed",
        "datalen must be given for data that comes in pieces",
        "a request with the id {} is under way",
        "a part without its whole",
        "the outbox has an entry in the state {}",
        "there is no later stamp than this",
        "this request was prepared before",
        "{} has a vault already",
        "the seed of a recovery key has {} bytes",
        "another process runs the accounts in {}",  # to whoever starts a second one
    }
)
"""What looks like a sentence and is not told to who uses the pages."""

MADE: Final = re.compile(r"t\(`([^`]*)`")  # a key that is put together
ROOMS: Final = "|".join(json.loads((WEB / "words" / "en.json").read_text("utf-8")))
NAMED: Final = re.compile(rf'"((?:{ROOMS})\.[a-z0-9_]+)"')


def catalogue(name: str) -> Any:
    return json.loads((WEB / "words" / f"{name}.json").read_text("utf-8"))


def words(name: str) -> dict[str, Any]:
    return {f"{room}.{word}": text for room, of in catalogue(name).items() for word, text in of.items()}


def texts(text: Any) -> Iterator[str]:
    yield from text.values() if isinstance(text, dict) else (text,)


def put_into(text: Any) -> set[str]:
    return {name for one in texts(text) for name in PUT_IN.findall(one)}


def scripts() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((WEB / "app").rglob("*.js")))


def test_both_languages_have_every_word() -> None:
    assert set(words("en")) == set(words("de"))


def test_a_word_takes_the_same_in_both_languages() -> None:
    german = words("de")
    differ = {key: put_into(german[key]) ^ put_into(text) for key, text in words("en").items()}
    assert {key: names for key, names in differ.items() if names} == {}


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_is_counted_has_a_text_for_each_plural_form(language: str) -> None:
    """CLDR: English and German have `one` and `other`."""
    for key, text in words(language).items():
        if isinstance(text, dict):
            assert set(text) == {"one", "other"}, key


def test_no_word_is_empty_or_has_a_blank_at_an_end() -> None:
    for language in ("en", "de"):
        for key, text in words(language).items():
            assert all(one and one == one.strip() for one in texts(text)), (language, key)


def test_german_quotes_and_dashes_are_german() -> None:
    """DIN 5008: „…“, and three points behind a blank."""
    spoken = [*words("de").values(), *catalogue("de.engine").values()]
    for one in (text for word in spoken for text in texts(word)):
        assert '"' not in one or '"object"' in one, one
        assert not re.search(r"\w…", one.replace("sha256:…", "").replace("=…", "").replace("#…", "")), one
        assert one.count("„") == one.count("“"), one


def test_the_pages_use_every_word_and_no_other() -> None:
    source = scripts()
    known = set(words("en"))
    used = set(NAMED.findall(source))
    missing = used - known - set(BY_NAME)  # operations are called alike
    assert not missing, f"there are no such words: {sorted(missing)}"
    made = [re.compile(re.sub(r"\\\$\\\{.*?\\\}", r"[A-Za-z0-9_]+", re.escape(one))) for one in MADE.findall(source)]
    idle = {key for key in known - used if not any(one.fullmatch(key) for one in made)}
    assert not idle, f"nobody says {sorted(idle)}"


def test_the_engine_has_every_sentence_in_german() -> None:
    there = {PUT_IN.sub("{}", english) for english in catalogue("de.engine")}
    said = {**dict.fromkeys(of_protocol(), "docs/protocol.md"), **of_service(), **of_client()}
    missing = {text: place for text, place in said.items() if text not in there | UNTOLD}
    assert missing == {}
    composed = {PUT_IN.sub("{}", one) for one in COMPOSED}
    assert there - set(said) - composed == set(), "nobody says this any more"
    assert set(said) >= UNTOLD, f"nobody says this any more: {UNTOLD - set(said)}"
    assert composed <= there


def test_a_sentence_in_german_puts_in_nothing_that_the_english_has_not() -> None:
    for english, german in catalogue("de.engine").items():
        assert put_into(german) <= put_into(english), english


def test_no_two_sentences_of_the_engine_are_told_apart_by_what_is_put_in_only() -> None:
    there = [PUT_IN.sub("{}", english) for english in catalogue("de.engine")]
    assert len(there) == len(set(there))
