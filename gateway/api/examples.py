# SPDX-License-Identifier: AGPL-3.0-or-later
"""One example of each body and each answer, for the API's description; typed, so that it cannot be wrong."""

from typing import Final

import msgspec

from bridges.smtp.control import models as smtp
from gateway.administration import models as m

_AT_MS: Final = 1_790_000_000_000
_UID: Final = "r3k5d2n7q6w4h8j9c1v0b5m2x7z3f6t4"
_LINK: Final = "tmtp://chat.example.org:4433/?invite=…"

_ACCOUNT: Final = m.Account(
    uid=_UID,
    aliases=["Ada Lovelace"],
    devices=2,
    status="active",
    role="member",
    queued=3,
    created_ms=_AT_MS,
    connected=1,
    identity=m.Identity(issuer="https://id.example.org/realms/example", subject="f2b8a1c4"),
    address="",
)
_DEVICE: Final = m.Device(
    device=17, label="laptop", standing="active", key="…", created_ms=_AT_MS, queued=3, connected=False
)
_GROUP: Final = m.Group(gid="Sales Team", owner=_UID, owner_alias="Ada Lovelace", joined=4, invited=1, barred=0)
_FIGURES: Final = m.InstanceFigures(
    instance="members",
    title="Members of Example",
    policy="members",
    registration="invite",
    healthy=True,
    links=120,
    devices_connected=118,
    accounts=140,
    accounts_barred=1,
    invitations_open=4,
    reports_open=1,
    messages_queued=57,
    bytes_queued=1_234_567,
    oldest_queued_ms=_AT_MS,
    deliveries_total=98_765,
    commits_total=12_345,
    commit_failures_total=0,
    ack_ms_p50=31.25,
    ack_ms_p99=250.0,
    archive="none",
    link="tmtp://chat.example.org:4433/",
)
_SAMPLE: Final = m.Sample(
    at_ms=_AT_MS,
    links=120,
    messages_queued=57,
    oldest_queued_s=3_600.0,
    posts_per_s=1.5,
    deliveries_per_s=4.2,
    ack_ms_p99=250.0,
)
_ENTRY: Final = m.AuditEntry(
    number=42,
    at_ms=_AT_MS,
    actor="token 3 (provisioning)",
    operation="accounts.bar",
    instance="members",
    target="Ada Lovelace",
    outcome="done",
    detail="",
    hash="9f2c…",
)

_SENDER: Final = smtp.Sender(
    number=3,
    address="",
    domain="partner.example",
    proof=[smtp.Proof(dkim="partner.example"), smtp.Proof(spf="aligned")],
    owner="Purchasing",
    reason="their orders come by mail until their new system is there",
    source="administrator",
    created_ms=_AT_MS,
    created_by="Grace Hopper",
    expires_ms=_AT_MS,
    routes=["orders@example.org"],
    quota_per_day=200,
    today=17,
    state="active",
    why="",
    changed_ms=_AT_MS,
    passed_ms=_AT_MS,
    failed_ms=None,
    failures=0,
)
_HELD: Final = smtp.HeldMail(
    number=3,
    received_ms=_AT_MS,
    expires_ms=_AT_MS,
    author="jo@stranger.example",
    subject="An offer",
    recipients=["orders@example.org"],
    why="nobody has vetted jo@stranger.example, and the route holds such mail",
    size=4_096,
    state="held",
    decided_by="",
    decided_ms=None,
)
_CORRESPONDENT: Final = smtp.Correspondent(
    address="jo@partner.example",
    state="invited",
    machine="",
    proof="strong",
    mails=12,
    first_seen_ms=_AT_MS,
    last_seen_ms=_AT_MS,
    changed_ms=_AT_MS,
    changed_by="Grace Hopper",
    invitation=7,
    link=_LINK,
    invited_ms=_AT_MS,
    joined_ms=None,
    joined_as="",
    refused_ms=None,
)
_DECISION: Final = (
    b'{"kind":"act","by":"Grace Hopper","act":"senders.vet","target":"partner.example","detail":"dkim partner.example"}'
)

ANSWERS: Final[dict[type[msgspec.Struct], msgspec.Struct]] = {
    m.Done: m.Done(),
    m.Overview: m.Overview(
        version="1.0",
        started_ms=_AT_MS,
        now_ms=_AT_MS,
        rss_bytes=150_000_000,
        disk_free_bytes=40_000_000_000,
        disk_total_bytes=80_000_000_000,
        certificate_ends_ms=_AT_MS,
        backups=m.Backups(state="kept", kept=7, newest_ms=_AT_MS),
        instances=[_FIGURES],
    ),
    m.History: m.History(hour=[_SAMPLE], day=[_SAMPLE]),
    m.SettingsShown: m.SettingsShown(file="/etc/tmtp/gateway.yaml", yaml="data_dir: /var/lib/tmtp\n"),
    m.AccountPage: m.AccountPage(accounts=[_ACCOUNT], next=None),
    m.AccountDetail: m.AccountDetail(account=_ACCOUNT, devices=[_DEVICE], groups=["Sales Team"]),
    m.Account: _ACCOUNT,
    m.NewInvitation: m.NewInvitation(token="…", link=_LINK, note="Ada, sales", expires_ms=_AT_MS),  # noqa: S106 - none
    m.Group: _GROUP,
    m.GroupDetail: m.GroupDetail(
        group=_GROUP, members=[m.GroupMember(uid=_UID, alias="Ada Lovelace", standing="joined")]
    ),
    m.Report: m.Report(
        report=5,
        reporter=_UID,
        reporter_alias="Ada Lovelace",
        reported=_UID[::-1],
        reported_alias="Eve Dropper",
        reported_role="member",
        reported_status="active",
        reason="spam",
        words="the third time this week; she wrote: “buy this”",
        made_ms=_AT_MS,
        about_same=2,
        closed_ms=None,
        outcome="",
        note="",
    ),
    m.Invitation: m.Invitation(invitation=7, uses_left=1, expires_ms=_AT_MS, note="Ada, sales", creator=""),
    m.Queue: m.Queue(uid=_UID, alias="Ada Lovelace", deliveries=3, bytes=4_096, oldest_ms=_AT_MS),
    m.Bridge: m.Bridge(
        name="intake", instance="public", kind="smtp", listen="127.0.0.1:2525", running=True, senders=12, routes=3
    ),
    m.AuditPage: m.AuditPage(entries=[_ENTRY], next=42),
    m.AuditVerdict: m.AuditVerdict(entries=42, intact=True, first_broken=None, head="9f2c…"),
    m.NewToken: m.NewToken(token="tmtpadm_…", number=3),  # noqa: S106 - none
    m.Token: m.Token(
        number=3,
        name="provisioning",
        scopes=["invitations:write"],
        instances=["members"],
        created_ms=_AT_MS,
        expires_ms=None,
        used_ms=_AT_MS,
    ),
    m.SignInLink: m.SignInLink(url="https://console.example.org/sign-in/link/…", expires_ms=_AT_MS),
    m.ConsolePerson: m.ConsolePerson(
        person="Grace Hopper", role="helpdesk", created_ms=_AT_MS, passkeys=2, seen_ms=_AT_MS
    ),
    smtp.Status: smtp.Status(
        name="intake",
        connected=True,
        sessions=2,
        spooled=0,
        spooled_bytes=0,
        held=1,
        held_bytes=4_096,
        senders_active=12,
        senders_suspended=1,
        outgoing=0,
        attention=["supplier.example is suspended: its proof has stopped passing"],
    ),
    smtp.Sender: _SENDER,
    smtp.HeldMail: _HELD,
    smtp.HeldDetail: smtp.HeldDetail(
        mail=_HELD,
        trace=["no record for jo@stranger.example", "the route orders@example.org holds mail of unknown senders"],
        text="Good morning, …",
        attachments=[smtp.HeldAttachment(name="offer.pdf", size=2_048, active="")],
        notes=[],
        unreadable="",
        suggested=[smtp.Proof(dkim="stranger.example")],
    ),
    smtp.HeldDecided: smtp.HeldDecided(
        mail=_HELD, outcomes={"orders@example.org": "delivered"}, record=3, invite="jo@stranger.example"
    ),
    smtp.Correspondent: _CORRESPONDENT,
    smtp.CorrespondentPage: smtp.CorrespondentPage(correspondents=[_CORRESPONDENT], next=None),
    smtp.Report: smtp.Report(
        at_ms=_AT_MS,
        windows=[
            smtp.ReportWindow(
                days=7,
                senders=40,
                messages=210,
                delivered=190,
                held=5,
                refused=15,
                human=145,
                machine=60,
                weak=9,
                unproved=5,
            )
        ],
        days=[smtp.ReportDay(day="2026-11-26", messages=30, senders=12)],
        states={"seen": 20, "vetted": 10, "invited": 6, "joined": 3, "refused": 1},
        invited=10,
        joined=4,
        joined_rate=0.4,
        median_days=3.5,
        residue=[
            smtp.Residue(
                address="jo@partner.example",
                state="invited",
                machine="",
                proof="strong",
                messages=12,
                last_seen_ms=_AT_MS,
            )
        ],
        zero_date="2027-06-01",
        members=[smtp.ReportMember(alias="Ada Lovelace", smtp=12, tmtp=240)],
    ),
    smtp.ReplayAnswer: smtp.ReplayAnswer(
        days=30,
        messages=900,
        unchanged=880,
        unknown=2,
        before={"delivered": 850, "refused": 50},
        after={"delivered": 832, "refused": 68},
        changes=[
            smtp.ReplayChange(
                author="jo@partner.example",
                recipient="orders@example.org",
                before="delivered",
                after="refused",
                messages=18,
                trace=["no record for jo@partner.example"],
            )
        ],
    ),
    smtp.DecisionPage: smtp.DecisionPage(
        entries=[
            smtp.DecisionEntry(number=42, at_ms=_AT_MS, kind="act", body=msgspec.Raw(_DECISION), hash="9f2c…"),
        ],
        next=42,
    ),
    smtp.DecisionVerdict: smtp.DecisionVerdict(entries=42, first=1, intact=True, first_broken=None, head="9f2c…"),
}

BODIES: Final[dict[type[msgspec.Struct], msgspec.Struct]] = {
    m.CreateInvitation: m.CreateInvitation(note="Ada, sales"),
    m.CreateInvitations: m.CreateInvitations(notes=["Ada, sales", "Bob, support"]),
    m.CloseReport: m.CloseReport(outcome="acted", note="barred her"),
    m.GiveAlias: m.GiveAlias(alias="Support Desk"),
    m.FoundGroup: m.FoundGroup(gid="Sales Team", who="Ada Lovelace"),
    m.CreateToken: m.CreateToken(name="provisioning", scopes=["invitations:write"], instances=["members"]),
    m.CreateSignInLink: m.CreateSignInLink(person="Grace Hopper", role="helpdesk"),
    smtp.VetSender: smtp.VetSender(
        domain="partner.example",
        proof=[smtp.Proof(dkim="partner.example"), smtp.Proof(spf="aligned")],
        owner="Purchasing",
        reason="their orders come by mail until their new system is there",
        routes=["support@example.org"],
        quota_per_day=200,
    ),
    smtp.Because: smtp.Because(reason="they have moved to another provider"),
    smtp.DecideHeld: smtp.DecideHeld(action="release", reason="they called"),
    smtp.MoveCorrespondent: smtp.MoveCorrespondent(state="joined", reason="writes from her own account now"),
    smtp.Replay: smtp.Replay(
        senders=[smtp.VetSender(domain="partner.example", proof=[smtp.Proof(dkim="partner.example")])],
        routes=[smtp.ReplayedRoute(recipient="support@example.org", unknown="hold")],
    ),
}

ARGUMENTS: Final[dict[str, str | int]] = {
    "instance": "members",
    "who": "Ada Lovelace",
    "device": 17,
    "gid": "Sales Team",
    "invitation": 7,
    "report": 5,
    "about": _UID,
    "number": 3,
    "person": "Grace Hopper",
    "search": "love",
    "status": "active",
    "after": "",
    "before": 42,
    "limit": 50,
    "bridge": "intake",
    "address": "jo@partner.example",
}

_STATES: Final = {
    "reports.list": "open",
    "smtp.senders.list": "active",
    "smtp.held.list": "held",
    "smtp.correspondents.list": "invited",
}


def example(argument: str, operation: str) -> str | int:
    """An argument of an operation; states are not everywhere the same."""
    return _STATES[operation] if argument == "state" else ARGUMENTS[argument]
