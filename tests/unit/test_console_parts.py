# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parts of the console that need no browser: what templates let out, plots, codes, tries to sign in (C1, D1, D2)."""

import os
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.administration.models import Sample
from gateway.console.codes import qr
from gateway.console.guards import HEADERS, Attempts, site_of
from gateway.console.passkeys import passkeys_possible
from gateway.console.plots import HEIGHT, WIDTH, Plot, Series, plot
from gateway.console.rendering import ago, assets, count, duration, sentence, size, templates, until
from gateway.console.sealing import Sealing
from gateway.console.shown import ShownOnce
from tmtp_core import limits
from tmtp_core.errors import RequestRefused

NOW_MS = 1_800_000_000_000


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def monotonic_s(self) -> float:
        return self.s

    def wall_ns(self) -> int:
        return int(self.s * 1e9)


def sample(before_s: int, links: int = 1, ack_ms: float | None = 1.0) -> Sample:
    return Sample(
        at_ms=NOW_MS - before_s * 1000,
        links=links,
        messages_queued=0,
        oldest_queued_s=0.0,
        posts_per_s=0.0,
        deliveries_per_s=0.0,
        ack_ms_p99=ack_ms,
    )


def drawn(samples: list[Sample]) -> Plot:
    series = [Series("Connections", lambda one: one.links), Series("Latency", lambda one: one.ack_ms_p99)]
    return plot("Both", "each", series, samples, now_ms=NOW_MS, span_s=3600, span=("then", "now"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('"><img src=x onerror=alert(1)>', "&#34;&gt;&lt;img src=x onerror=alert(1)&gt;"),
        ("exe\u202egnp", "exe\\u202egnp"),  # a name that turns what follows shows how
        ("\u200bAda\x1b[2J", "\\u200bAda\\u001b[2J"),
    ],
)
def test_templates_let_nothing_out_but_text(text: str, shown: str) -> None:
    environment = templates(assets())
    assert environment.from_string("{{ it }}").render(it=text) == shown
    assert environment.from_string('<a title="{{ it }}">').render(it=text) == f'<a title="{shown}">'


def test_a_template_that_lacks_a_name_fails() -> None:
    with pytest.raises(Exception, match="undefined"):
        templates(assets()).from_string("{{ nobody }}").render()


def test_no_template_has_a_script_or_a_style_of_its_own() -> None:
    environment = templates(assets())
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe", source), name
        assert "//" not in source, name  # nothing from elsewhere (B6)


def test_the_policy_allows_own_files_only() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy


def test_a_plot_has_a_scale_that_holds_its_highest_value_and_says_it_in_words() -> None:
    made = drawn([sample(60, links=37), sample(30, links=12)])
    assert made.scale == ("40", "20", "0")
    assert "Connections: now 12, highest 37 each" in made.summary
    assert made.rows[0][1] == "12"


def test_a_line_has_a_hole_where_nothing_is_known() -> None:
    made = drawn([sample(50), sample(40, ack_ms=None), sample(30), sample(20)])
    assert made.lines[0].line.count("M") == 1
    assert made.lines[1].line.count("M") == 2
    far = drawn([sample(3000), sample(2990), sample(20)])  # the service was down meanwhile
    assert far.lines[0].line.count("M") == 2


def test_a_full_hour_is_drawn_inside_the_picture_with_few_points() -> None:
    made = drawn([sample(10 * step, links=step) for step in range(360, -1, -1)])
    assert len(made.moments) <= 121
    numbers = [float(one) for one in re.findall(r"-?[\d.]+", made.lines[0].line)]
    assert min(numbers) >= 0
    assert max(numbers) <= max(WIDTH, HEIGHT)
    assert len(made.rows) <= 12


def test_no_figures_make_no_plot() -> None:
    made = drawn([])
    assert made.rows == ()
    assert made.summary == "no figures yet"


def test_figures_are_said_as_people_say_them() -> None:
    assert [size(0), size(1023), size(1536), size(80 << 30)] == ["0 bytes", "1023 bytes", "1.5 KiB", "80 GiB"]
    assert [duration(59), duration(60), duration(7200), duration(86_400)] == ["59 s", "1 minute", "2 hours", "1 day"]
    assert count(1_234_567) == "1\u202f234\u202f567"
    assert ">3 days ago</time>" in ago(NOW_MS - 3 * 86_400_000, NOW_MS)
    assert ">in 1 hour</time>" in str(until(NOW_MS + 3_600_000, NOW_MS))
    assert until(None, NOW_MS) == "never"


def test_a_code_holds_its_quiet_zone_and_says_what_it_is() -> None:
    made = str(qr("tmtp://example.org/", 'of "Ada"'))
    assert 'aria-label="of &#34;Ada&#34;"' in made
    assert min(int(x) for x in re.findall(r"M(\d+) ", made)) == 4


def test_tries_to_sign_in_are_few_for_each_address_and_come_back() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    allowed = [attempts.allow("192.0.2.1") for _ in range(limits.CONSOLE_ATTEMPTS_MAX + 5)]
    assert allowed == [True] * limits.CONSOLE_ATTEMPTS_MAX + [False] * 5
    assert attempts.allow("192.0.2.2")
    clock.s += limits.CONSOLE_ATTEMPT_INTERVAL_S
    assert attempts.allow("192.0.2.1")
    assert not attempts.allow("192.0.2.1")
    assert not attempts.allow("::ffff:192.0.2.1")
    assert [attempts.allow(f"2001:db8::{n}") for n in range(limits.CONSOLE_ATTEMPTS_MAX + 1)][-1] is False
    assert attempts.allow("2001:db8:0:1::1")


def test_what_a_browser_keeps_is_good_for_one_thing_once_and_not_for_long() -> None:
    clock = Clock()
    sealing, other = Sealing(clock, os.urandom), Sealing(clock, os.urandom)
    mine = sealing.seal("this", {"state": "s"})
    for _ in range(limits.CONSOLE_CEREMONIES_MAX + 1):  # strangers may begin as often as they like
        sealing.seal("this", {})
    assert sealing.opened("this", mine) == {"state": "s"}
    bent = mine[:-2] + ("AA" if mine[-2:] != "AA" else "BA")
    for what, text in (
        ("that", mine),
        ("this", bent),
        ("this", ""),
        ("this", "x" * 99),
        ("this", other.seal("this", {})),
    ):
        with pytest.raises(RequestRefused):
            sealing.spend(what, text)
    assert sealing.spend("this", mine) == {"state": "s"}
    with pytest.raises(RequestRefused):
        sealing.spend("this", mine)
    late = sealing.seal("this", {})
    clock.s += limits.CONSOLE_CEREMONY_S
    with pytest.raises(RequestRefused):
        sealing.opened("this", late)


def test_what_is_shown_once_is_shown_to_its_session_alone_and_not_for_long() -> None:
    shown = ShownOnce(lambda octets: b"n" * octets)
    name = shown.keep(7, "link", NOW_MS)
    assert shown.look(7, name, NOW_MS) == "link"
    assert shown.look(8, name, NOW_MS) is None
    assert shown.look(7, name, NOW_MS + limits.CONSOLE_SHOWN_MS) is None


def asked(scheme: str = "http", **headers: str) -> web.Request:
    made = make_mocked_request("POST", "/", {name.replace("_", "-"): value for name, value in headers.items()})
    return made.clone(scheme=scheme)


def test_a_console_behind_a_proxy_knows_its_own_name_and_scheme() -> None:
    site = site_of("127.0.0.1", "https://console.example.org", "127.0.0.1")
    behind = asked(Host="console.example.org")
    assert site.allows(behind)
    assert site.origin(behind) == "https://console.example.org"  # the proxy speaks plain HTTP with us
    assert site.from_own_page(asked(Host="console.example.org", Origin="https://console.example.org"))
    assert not site.from_own_page(asked(Host="console.example.org", Origin="http://console.example.org"))
    beside = asked(Host="localhost:8443")
    assert (site.allows(beside), site.origin(beside)) == (True, "http://localhost:8443")
    for stranger in ("machine.example.org", "evil.example", "console.example.org.evil.example", "192.0.2.7", ""):
        assert not site.allows(asked(Host=stranger)), stranger


def test_a_console_on_every_address_has_the_machines_name() -> None:
    site = site_of("0.0.0.0", None, "Machine.Example.Org")
    for host in ("machine.example.org:8443", "MACHINE.example.org", "127.0.0.1:8443", "localhost", "[::1]:1"):
        assert site.allows(asked("https", Host=host)), host
    assert not site.allows(asked("https", Host="0.0.0.0"))


def test_a_console_on_one_address_has_the_name_that_links_have() -> None:
    site = site_of("192.0.2.7", None, "chat.example.org")
    for host in ("chat.example.org:8443", "192.0.2.7:8443"):
        assert site.allows(asked("https", Host=host)), host
    for stranger in ("localhost:8443", "evil.example"):
        assert not site.allows(asked("https", Host=stranger)), stranger


def test_passkeys_need_a_site_with_a_name() -> None:
    assert passkeys_possible("http://localhost:8443")
    assert passkeys_possible("https://console.example.org")
    assert not passkeys_possible("https://192.0.2.1:8443")
    assert not passkeys_possible("https://[2001:db8::1]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("there is no record 7", "There is no record 7."),
        ("orders@partner.example stands in the settings file", "orders@partner.example stands in the settings file."),
        ("sha256:zz is no pin", "sha256:zz is no pin."),
        ("record 3, orders@partner.example, is suspended.", "Record 3, orders@partner.example, is suspended."),
        ("address: it is too short", "Address: it is too short."),
    ],
)
def test_a_sentence_leaves_an_address_as_it_is_written(text: str, said: str) -> None:
    assert sentence(text) == said


def test_what_never_was_is_never_ago() -> None:
    assert ago(None, NOW_MS) == "never"
