# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes that look at a mail's proof (C2): what takes too long or falls proves nothing, and peers share."""

import asyncio
import dataclasses
import time

import pytest

from bridges import limits
from bridges.smtp.proof import worker
from bridges.smtp.proof.author import read_header
from bridges.smtp.proof.exchange import Overtaxed, SignaturesOrder
from bridges.smtp.proof.prover import Origin, Prover, Trust
from bridges.smtp.proof.verdict import Standing
from bridges.workers import WorkerFailed
from tests.support.proving import DKIM, ORIGIN, InThisProcess, keys
from tests.support.signing import Records, mail_of, signed


async def test_the_processes_that_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a bridge: a good mail, hostile ones, one that takes too long, and the good one again."""
    header = read_header(mail_of())
    prover = Prover(Records(keys()), lambda: int(time.time()), Trust(arc_sealers=frozenset({"lists.example"})))

    async def standing(mail: bytes) -> Standing:
        return (await prover.prove(mail, header, ORIGIN, (DKIM,))).standing(DKIM)

    try:
        assert await standing(signed(mail_of())) is Standing.HOLDS
        for hostile in (
            b"",
            b"\r\n",
            b"\xff" * 1_000,
            b" x\r\n",
            b"DKIM-Signature: " + b";a=" * 20_000,
            b"ARC-Seal: i=x\r\n",
        ):
            assert await standing(hostile) is Standing.FAILS
        with monkeypatch.context() as hurried, pytest.raises(WorkerFailed):  # our load, so it is tried again
            hurried.setattr(limits, "PROOF_WALL_S", 0.0)
            await standing(signed(mail_of()))
        assert await standing(signed(mail_of())) is Standing.HOLDS
    finally:
        await prover.stop()


def test_a_mail_that_makes_a_library_fall_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), RecursionError(), ValueError("x")):
        monkeypatch.setattr(worker.dkim, "Signatures", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert isinstance(worker.answer(SignaturesOrder(0, False), signed(mail_of())), Overtaxed)


async def test_one_peers_mails_leave_a_turn_to_others() -> None:
    class Counting(InThisProcess):
        now = most = 0

        async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return await super().ask(order, octets, wall_s, answer_max_bytes)

    mail = signed(mail_of())
    header = read_header(mail)
    prover = Prover(Records(keys()), lambda: int(time.time()), Trust())

    async def most(*origins: Origin) -> int:
        counting = Counting()
        prover._workers = counting  # type: ignore[assignment]
        await asyncio.gather(*(prover.prove(mail, header, origin, (DKIM,)) for origin in origins))
        return counting.most

    other = dataclasses.replace(ORIGIN, peer="192.0.2.2")
    assert await most(ORIGIN, ORIGIN, ORIGIN) == limits.PROOF_WORKERS_PER_PEER
    assert await most(ORIGIN, other) == 2 * limits.PROOF_WORKERS_PER_PEER
    ours, ours_too = (dataclasses.replace(ORIGIN, peer=f"2001:db8::{last}") for last in (1, 2))
    assert await most(ours, ours_too) == limits.PROOF_WORKERS_PER_PEER
    behind = dataclasses.replace(ORIGIN, peer="127.0.0.1", upstream=True)
    assert await most(behind, behind, behind) == limits.PROOF_WORKERS
