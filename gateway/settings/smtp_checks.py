# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one block of an SMTP intake cannot say about its doors, its senders and whom it believes (C2, C4)."""

import ipaddress
import os
from collections.abc import Iterator

from bridges.smtp.control.checks import ADDRESS, DOMAIN, INVITATION_URL_MAX, invitation_wrong, sender_checks
from gateway.settings.models import SmtpBridge
from gateway.settings.yaml_source import Path

Found = tuple[Path, str, str]
"""Path, what is wrong, what would be right."""


def smtp_checks(path: Path, bridge: SmtpBridge) -> Iterator[Found]:
    """Every mistake of that kind."""
    for index, door in enumerate(bridge.listen):
        if len(door.named()) != 1:
            yield (
                (*path, "listen", index),
                "each entry names exactly one address",
                'for example: {smtp: "0.0.0.0:25"}, {smtps: "0.0.0.0:465"} or {lmtp: "unix:./run/lmtp.sock"}',
            )
    recipients = [route.recipient for route in bridge.routes]
    seen: dict[str, int] = {}
    for index, sender in enumerate(bridge.senders):
        where = (*path, "senders", index)
        for place, wrong, right in sender_checks(sender, bridge.upstream.addresses, recipients):
            yield (*where, *place), wrong, right
        name = (sender.address or sender.domain or "").lower()
        if name and name in seen:
            field = "address" if sender.address else "domain"
            yield (*where, field), f"the sender {name} has a rule already", "list all its proofs there; all must hold"
        seen[name] = index
    yield from _belief_checks(path, bridge)
    yield from _way_out_checks(path, bridge, recipients)


def _belief_checks(path: Path, bridge: SmtpBridge) -> Iterator[Found]:
    """Whom it believes: servers in front, proxies, sealers, name servers."""
    for field, values in (("upstream", bridge.upstream.addresses), ("proxies", bridge.proxies)):
        inner = ("addresses",) if field == "upstream" else ()
        for index, value in enumerate(values):
            try:
                if field == "proxies" or value != "unix":
                    ipaddress.ip_network(value)
            except ValueError as error:
                right = "for example 127.0.0.1/32" + (", or unix" if field == "upstream" else "")
                yield (*path, field, *inner, index), str(error), right
    if bridge.upstream.authserv_id is not None and not bridge.upstream.addresses:
        yield (
            (*path, "upstream", "authserv_id"),
            "everybody could write Authentication-Results in this name",
            "addresses: of the mail server in front, for example [unix]",
        )
    for index, sealer in enumerate(bridge.arc_sealers):
        if not DOMAIN.fullmatch(sealer):
            yield (*path, "arc_sealers", index), f"{sealer} is no domain", "what its seals have as d="
    for index, server in enumerate(bridge.nameservers):
        try:
            ipaddress.ip_address(server.host)
        except ValueError:
            yield (*path, "nameservers", index), f"{server.host} is no IP address", "for example 127.0.0.1:53"


def _way_out_checks(path: Path, bridge: SmtpBridge, recipients: list[str]) -> Iterator[Found]:
    """What is said to senders and to administrators, and how members' answers leave (C5)."""
    for index, route in enumerate(bridge.routes):
        if not ADDRESS.fullmatch(route.recipient):
            where = (*path, "routes", index, "recipient")
            yield where, f"{route.recipient} is no mail address", "name@domain, without <>"
        if route.reply == "smarthost" and bridge.smarthost is None:
            yield (
                (*path, "routes", index, "reply"),
                "there is no relay that members' answers could leave by",
                "smarthost: {host: …, user: …, password: FILE} of this bridge, or reply: invite",
            )
    if bridge.invitation_url is not None and (wrong := invitation_wrong(bridge.invitation_url)) is not None:
        right = f"https://…, at most {INVITATION_URL_MAX} characters"
        yield (*path, "invitation_url"), wrong, right
    if bridge.tell is not None and bridge.tell.lower() not in {one.lower() for one in recipients}:
        yield (*path, "tell"), f"there is no route for {bridge.tell}", "the recipient of one of routes:, or null"
    relay = bridge.smarthost
    if relay is None:
        return
    if (relay.user is None) != (relay.password is None):
        yield (*path, "smarthost"), "user and password come together", "both, or none for a relay that asks for none"
    for name, file in (("password", relay.password), ("ca", relay.ca)):
        if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
            yield (*path, "smarthost", name), f"{file} is not a file that can be read", _FILES[name]


_FILES = {
    "password": "a file with the password alone",
    "ca": "a PEM file with the authority's certificate, or null",
}
