# SPDX-License-Identifier: AGPL-3.0-or-later
"""Histories by chance of an honest service, which is never doubted, and of one that lies, which always is noticed (B9)."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.trust_world import DAY_MS, MINUTE_MS, Device, Post, World, run
from tmtp_client.connection import DeviceKeys
from tmtp_client.store import tables as t
from tmtp_client.trust import Held, Plan
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogRefused
from tmtp_core.crypto.log_records import STAMP, Record, append, compose, encode_record, replay
from tmtp_core.crypto.signing import Signer
from tmtp_core.ids import posted_text
from tmtp_core.wire import revision2 as m2

ACTS = ["send"] * 8 + ["add", "recover", "confirm", "suspend", "resume", "revoke", "contest", "rekey"]
ACTS += ["leave", "return", "return", "pass", "restore", "give back", "block"]
Choice = tuple[str, int, int, int]
choices = st.tuples(st.sampled_from(ACTS), *[st.integers(0, 1_000)] * 3)
SLOW = settings(
    max_examples=max(20, settings().max_examples // 100),  # each is a whole history: a second
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Honest:
    """Three people who know one another, and a service that does what it should."""

    def __init__(self) -> None:
        self.world = World()
        self.people = [self.world.account().account for _ in range(3)]
        self.posts: list[tuple[Post, frozenset[str], dict[str, int]]] = []
        self.everybody()

    # -- who is there ------------------------------------------------------------------------------------------------
    def able(self) -> list[Device]:
        """Devices that are connected."""
        return [one for one in self.world.devices() if one.online and "suspended" not in one.stands]

    def everybody(self) -> None:
        """Everything arrives that can, and who is connected is up to date."""
        for one in self.able():
            one.take()
            one.database.do(one.trust.caught_up)

    # -- what happens ------------------------------------------------------------------------------------------------
    def do(self, act: str, first: int, second: int, third: int) -> None:
        account = self.people[first % len(self.people)]
        there = [one for one in self.able() if one.account is account]
        mine = [one for one in self.world.devices() if one.account is account]
        other = mine[second % len(mine)]
        if act == "send" and there:
            self.send(there[second % len(there)], third)
        elif act == "add" and there:
            sponsor = there[second % len(there)]
            self.allowed(lambda: self.world.add(account, sponsor))
        elif act == "recover":
            self.allowed(lambda: self.world.add(account))
        elif act in {"confirm", "resume", "revoke"}:
            if act != "revoke" or len(mine) > 1:
                self.allowed(lambda: self.world.act(account, act, target=other.name))
                if act == "resume":
                    other.online = True
        elif act == "suspend" and there:
            self.allowed(lambda: self.world.act(account, act, there[second % len(there)], target=other.name))
        elif act == "contest":
            self.allowed(lambda: self.world.act(account, act, other))
        elif act == "rekey":
            self.rekey(account.uid)
        elif act == "leave" and len(self.able()) > 1:
            other.online = False
        elif act == "return":
            for one in self.world.devices():
                self.back(one)
        elif act == "pass":
            self.world.pass_ms(first * 10 * MINUTE_MS)
        elif act == "restore":
            self.restore(account.uid, 1 + second % 2)
        elif act == "give back":
            self.give_back()
        elif act == "block":
            self.block(account.uid, self.people[second % len(self.people)].uid)
        self.everybody()

    def allowed(self, act: object) -> None:
        """Do it, where the rules let it be done."""
        try:
            act()  # type: ignore[operator]
        except LogRefused:
            return

    def back(self, one: Device) -> None:
        if not one.online and "suspended" not in one.stands:
            one.online = True
            one.enter()

    def send(self, sender: Device, choice: int) -> None:
        """To one or two others; what changed, the person looks at."""
        others = [one.uid for one in self.people if one is not sender.account]
        uids = others if choice % 3 == 2 else [others[choice % 3]]
        if isinstance(sender.plan(*uids), Held):
            sender.see_all()
        when = {one.name: self.world.ids for one in self.world.devices()}
        self.posts.append((sender.send(f"message {len(self.posts)}", *uids), frozenset(uids), when))

    def rekey(self, uid: str) -> None:
        account = self.world.accounts[uid]
        new = Signer(self.world.random_bytes(32))
        self.world.act(account, "rekey", recovery=new.public)
        account.recovery = new

    def restore(self, uid: str, count: int) -> None:
        """The service forgets the last records; a device that knows better comes and tells it."""
        account = self.world.accounts[uid]
        knows = [one for one in self.able() if one.account is account and one.log().head == account.log.head_text]
        if not knows:
            return
        self.world.lose_records(account, count)
        for one in self.world.devices():  # some look while the service knows less
            if one.online and one.account is not account:
                run(one.trust.look_at(one, one.database, [uid], anew=True))
        knows[0].enter()

    def give_back(self) -> None:
        """A month passes, and what waited all the time is given back."""
        self.everybody()
        self.world.pass_ms(31 * DAY_MS)
        for post, uids, _ in self.posts:
            self.world.returned(post, {*uids, post.author})

    def block(self, uid: str, whom: str) -> None:
        """One blocks another, who writes; and thinks better of it."""
        senders = [one for one in self.able() if one.account.uid == whom]
        if uid == whom or not senders:
            return
        self.send(senders[0], [one.uid for one in self.people if one.uid != whom].index(uid))
        post, uids, _ = self.posts.pop()
        for one in self.world.devices():
            if one.account.uid == uid:
                one.queue.remove(post)
                one.database.do(lambda c, one=one: one.trust.unblocked(c, whom))
        assert uids == {uid}


@SLOW
@given(st.lists(choices, min_size=5, max_size=30))
def test_an_honest_service_is_never_doubted(history: list[Choice]) -> None:
    """Also when messages are returned, devices come and go, somebody is blocked, and a backup is restored."""
    honest = Honest()
    for choice in history:
        honest.do(*choice)
    for one in honest.world.devices():
        honest.back(one)
    honest.everybody()
    for sender in honest.able():  # and all hear of all once more
        honest.send(sender, 2)
        honest.everybody()
    for one in honest.able():
        assert [doubt for doubt in one.doubts() if doubt != "no key"] == []
        assert one.trouble() == {}
        assert all(read.sealed.settled for read in one.read.values() if read.sealed is not None)
    last, _, _ = honest.posts[-1]
    assert all(
        one.read[last.id].text is not None for one in honest.able() if last.id in one.read
    )  # who is there reads what is new
    sealed_to_what_is_there(honest.world)


def sealed_to_what_is_there(world: World, made_up: frozenset[str] = frozenset()) -> None:
    """Nothing was sealed to a key that is not a device's own, by the keys that the devices themselves made."""
    true: dict[str, set[str]] = {}
    for account in world.accounts.values():
        for device in account.devices.values():
            true[device.name] = {device.keys.box} | world.true_prekeys.get(device.name, set())
    for account in world.accounts.values():
        for device in account.devices.values():
            for name, key in device.sent_to:
                assert name in made_up or key in true[name]


# -- lies ------------------------------------------------------------------------------------------------------------
class Liar:
    """The service, once it lies to one device of `victim` about, or with, an account `author`."""

    def __init__(self, honest: Honest, author: int, victim: int, number: int) -> None:
        self.honest = honest
        self.world = honest.world
        people = honest.people
        self.author = people[author % len(people)]
        others = [one for one in people if one is not self.author]
        self.to = others[victim % len(others)]
        self.third = next(one for one in others if one is not self.to)
        self.number = number
        self.made_up: set[str] = set()

    @property
    def sender(self) -> Device:
        return next(one for one in self.honest.able() if one.account is self.author)

    @property
    def victim(self) -> Device:
        return next(one for one in self.honest.able() if one.account is self.to)

    def written(self, text: str = "a word") -> Post:
        """The author writes to the victim; it is on its way."""
        if isinstance(self.sender.plan(self.to.uid), Held):
            self.sender.see_all()
        return self.sender.send(text, self.to.uid)

    def waits(self, post: Post, instead: Post | None) -> None:
        """What comes to the victim's devices in place of a message."""
        for one in self.world.devices():
            if one.account is self.to and post in one.queue:
                place = one.queue.index(post)
                one.queue[place : place + 1] = [instead] if instead is not None else []

    # -- with messages -----------------------------------------------------------------------------------------------
    def alters(self) -> None:
        post = self.written()
        outer, stream = bytearray(post.outer), bytearray(post.stream)
        which = outer if self.number % 2 else stream
        which[self.number % len(which)] ^= 1 << self.number % 8
        self.waits(post, Post(post.id, post.author, post.posted, bytes(outer), bytes(stream)))

    def cuts_off(self) -> None:
        post = self.written()
        cut = post.stream[: self.number % len(post.stream)]
        self.waits(post, Post(post.id, post.author, post.posted, post.outer, cut))

    def replays(self) -> None:
        post = self.written()
        self.honest.everybody()
        again = Post(self.world.new_id(), post.author, posted_text(self.world.now_ms), post.outer, post.stream)
        self.victim.queue.append(again)

    def reorders(self) -> None:
        first, second = self.written("1"), self.written("2")
        for one in self.world.devices():
            if first in one.queue and second in one.queue:
                places = one.queue.index(first), one.queue.index(second)
                one.queue[places[0]], one.queue[places[1]] = second, first

    def withholds(self) -> None:
        self.written("1")
        self.honest.everybody()
        self.waits(self.written("2"), None)
        self.written("3")

    def redirects(self) -> None:
        post = self.written()
        self.waits(post, Post(post.id, self.third.uid, post.posted, post.outer, post.stream))

    def carries_over(self) -> None:
        """What was written to another comes to the victim."""
        if isinstance(self.sender.plan(self.third.uid), Held):
            self.sender.see_all()
        post = self.sender.send("a word", self.third.uid)
        self.victim.queue.append(post)

    def impersonates(self) -> None:
        """A device of the service's own making, which knows everything that the author's knows but his keys."""
        mole = Device(self.world, self.author)
        del self.author.devices[mole.name]
        for table in (t.log_record, t.trust):
            rows = [
                dict(row._mapping)
                for row in self.sender.database.do(lambda c, table=table: c.execute(table.select()).all())
            ]
            mole.database.do(lambda c, table=table, rows=rows: c.execute(table.insert(), rows))
        mole.see_all()
        plan = mole.database.do(lambda c: mole.trust.plan(c, [self.to.uid]))
        assert isinstance(plan, Plan)
        self.victim.queue.append(mole.send("send me money", self.to.uid))

    # -- with logs ---------------------------------------------------------------------------------------------------
    def shows_victim(self, records: list[Record], head: str) -> None:
        """To the victim's devices, of the author's log."""
        accounts = self.world.accounts

        def shows(asker: Device, uid: str, true: list[Record]) -> tuple[list[Record], str]:
            if uid == self.author.uid and asker.account is self.to:
                return records, head
            return true, accounts[uid].log.head_text

        self.world.shows = shows

    def looks(self) -> None:
        run(self.victim.trust.look_at(self.victim, self.victim.database, [self.author.uid], anew=True))

    def withholds_a_log(self) -> None:
        """The author's devices change, and the victim does not hear of it; the author writes."""
        self.shows_victim(list(self.author.records), self.author.log.head_text)
        self.world.pushes = False
        self.world.add(self.author)
        self.world.pushes = True
        self.written()

    def truncates_a_log(self) -> None:
        """To somebody who comes anew."""
        self.world.add(self.author)
        records = self.author.records[:-1]
        log = replay(records, uid=self.author.uid, service_key=self.world.service.public_key)
        self.shows_victim(records, log.head_text)
        new = self.world.add(self.to)  # it hears what is pushed from now on, and looks at the rest
        new.see_all()
        self.written()

    def alters_a_log(self) -> None:
        records = list(self.author.records)
        last = records[-1]
        sigs = tuple(msgspec.structs.replace(one, sig=one.sig[::-1]) for one in last.sigs)
        changed = [
            msgspec.structs.replace(last, time=last.time + 1),
            msgspec.structs.replace(last, sigs=sigs),
            msgspec.structs.replace(last, stamp=last.stamp[::-1]),
        ][self.number % 3]
        data = encode_record(changed)
        place = len(records) - 1
        event = m2.LogEvent(
            id=self.world.new_id(),
            from_=self.author.uid,
            posted=posted_text(self.world.now_ms),
            uid=self.author.uid,
            place=place,
            head=self.author.log.head_text,
            datalen=len(data),
        )
        self.victim.queue.append((event, data))

    def forks_a_log(self) -> None:
        """A new beginning that no administrator asked for, with a device of the service's making; the victim knew the old
        one. (Of who is met for the first time nothing can be held: safety numbers are for that.)
        """
        self.looks()
        log = self.author.log.copy()
        keys, recovery = DeviceKeys.new(self.world.random_bytes), Signer(self.world.random_bytes(32))
        entry = Entry("genesis", "", device=keys.signer.public, box=keys.box, recovery=recovery.public)
        raw, sigs = compose(entry, {keys.signer.public: keys.signer, RECOVERY: recovery}, self.world.service.public_key)
        record = append(
            log, raw, sigs, self.world.now_ms, uid=self.author.uid, service=self.world.service, admitted=True
        )
        self.made_up.add(keys.signer.public)
        self.shows_victim([*self.author.records, record], log.head_text)
        self.looks()

    def adds_a_device_itself(self) -> None:
        """Stamped by the service, and signed by nobody who may."""
        keys = DeviceKeys.new(self.world.random_bytes)
        entry = Entry("add", self.author.log.head_text, device=keys.signer.public, box=keys.box)
        raw, sigs = compose(entry, {keys.signer.public: keys.signer}, self.world.service.public_key)
        fake = tuple(msgspec.structs.replace(one, by=self.sender.name) for one in sigs)
        head = self.author.log.head
        stamp = self.world.service.sign(STAMP, self.author.uid.encode(), len(self.author.records).to_bytes(4), head)
        record = Record(raw, (*sigs, *fake), self.world.now_ms, stamp)
        self.shows_victim([*self.author.records, record], self.author.log.head_text)
        self.looks()

    def shows_a_head_of_nothing(self) -> None:
        self.shows_victim(list(self.author.records), "A" * 43)
        self.looks()

    def shows_the_sender_another_log(self) -> None:
        """The author is kept from a change of the victim's devices, and answers; the victim writes to him as well."""
        old, head = list(self.to.records), self.to.log.head_text
        accounts = self.world.accounts

        def shows(asker: Device, uid: str, true: list[Record]) -> tuple[list[Record], str]:
            if uid == self.to.uid and asker.account is self.author:
                return old, head
            return true, accounts[uid].log.head_text

        self.world.shows = shows
        self.world.pushes = False
        self.world.add(self.to)
        self.world.pushes = True

    # -- with prekeys ------------------------------------------------------------------------------------------------
    def offers_other_prekeys(self) -> None:
        """Its own, an older one, another device's: none is used. Nobody is told: the log's key serves."""
        ours = DeviceKeys.new(self.world.random_bytes)
        mallory = Signer(self.world.random_bytes(32))
        time_ms = self.world.now_ms
        sig = mallory.sign(*m2.prekey_signed(self.world.service.public_key, self.author.uid, time_ms, bytes(32)))
        shown = []
        for name, one in self.author.prekeys.items():
            shown.append(m2.Prekey(name, ours.box, one.time + self.number, one.sig))
            shown.append(m2.Prekey(name, ours.box, time_ms, sig))
            shown += [m2.Prekey(name, other.key, other.time, other.sig) for other in self.to.prekeys.values()]
        self.world.shown_prekeys[self.author.uid] = tuple(shown)
        self.looks()


LIES = [
    Liar.alters,
    Liar.cuts_off,
    Liar.replays,
    Liar.reorders,
    Liar.withholds,
    Liar.redirects,
    Liar.carries_over,
    Liar.impersonates,
    Liar.withholds_a_log,
    Liar.truncates_a_log,
    Liar.alters_a_log,
    Liar.forks_a_log,
    Liar.adds_a_device_itself,
    Liar.shows_a_head_of_nothing,
    Liar.shows_the_sender_another_log,
    Liar.offers_other_prekeys,
]
BEFORE = ["send", "send", "send", "add", "recover", "confirm", "revoke", "pass"]
before = st.tuples(st.sampled_from(BEFORE), *[st.integers(0, 1_000)] * 3)


@pytest.mark.parametrize("lie", LIES, ids=[lie.__name__ for lie in LIES])
@settings(SLOW, max_examples=max(3, settings().max_examples // 600))
@given(st.lists(before, max_size=8), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**20))
def test_a_service_that_lies_is_noticed(
    lie: Callable[[Liar], None], history: list[Choice], author: int, victim: int, number: int
) -> None:
    """Whatever it does with messages, logs and prekeys; and nothing is ever sealed to a key of its own making, but where
    it begins a log anew, which is told and held.
    """
    honest = Honest()
    for choice in history:
        honest.do(*choice)
    for account in honest.people:
        if not any(one.account is account for one in honest.able()):
            honest.world.add(account)
    honest.everybody()
    for one in honest.able():
        one.see_all()
    liar = Liar(honest, author, victim, number)
    lie(liar)
    honest.everybody()
    held = any(isinstance(one.plan(liar.author.uid), Held) for one in honest.able() if one.account is liar.to)
    if lie is Liar.forks_a_log:
        assert held
    for _ in range(2):  # life goes on
        for one in honest.able():
            others = [account.uid for account in honest.people if account is not one.account]
            if isinstance(one.plan(*others), Held):
                one.see_all()
            one.send("and so on", *others)
            honest.everybody()
    sealed_to_what_is_there(honest.world, frozenset(liar.made_up))
    if lie is Liar.offers_other_prekeys:
        return
    noticed = [doubt for one in honest.able() for doubt in one.doubts() if doubt != "no key"]
    noticed += [text for one in honest.able() for text in one.trouble().values()]
    if lie is Liar.forks_a_log:
        noticed += ["held"] * held
    if lie in {Liar.alters, Liar.carries_over}:  # it cannot be opened, and is shown as that
        noticed += [why for one in honest.able() if one.account is liar.to for why in one.doubts()]
    assert noticed
