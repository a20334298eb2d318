# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page on which a sign-in ends speaks the browser's language."""

import pytest

from tmtp_client.engine import sign_in_page


@pytest.mark.parametrize(
    ("asked", "language", "told"),
    [
        (None, "en", "Not your sign-in"),
        ("de-AT,de;q=0.9,en;q=0.8", "de", "Nicht deine Anmeldung"),
        ("en-GB, de", "en", "Not your sign-in"),
        ("fr, *;q=0.1, ../x, de", "de", "Nicht deine Anmeldung"),
        ("fr", "en", "Not your sign-in"),
    ],
)
def test_the_last_page_is_in_the_browsers_language(asked: str | None, language: str, told: str) -> None:
    head = (
        b"GET /?state=x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + (f"accept-language: {asked}\r\n" if asked else "").encode()
    )
    _, _, page = sign_in_page.answer(head + b"\r\n", "400 Bad Request", "Not your sign-in", "").partition(b"\r\n\r\n")
    assert f"<html lang={language}>" in page.decode()
    assert f"<h1>{told}</h1>" in page.decode()
