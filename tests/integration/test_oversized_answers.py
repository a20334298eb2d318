# SPDX-License-Identifier: AGPL-3.0-or-later
"""A request whose answer does not fit a header ends its own link and nobody else's."""

import asyncio
from pathlib import Path

import pytest

from tests.support.instance import running_instance
from tmtp_client.connection import Connection, Endpoint, Refused
from tmtp_core.wire import messages as m


async def test_an_answer_that_does_not_fit_harms_only_its_link(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
        alice, mallory = await Connection.open(endpoint), await Connection.open(endpoint)
        await alice.register("n", "Alice Liddell")
        await mallory.register("n", "Mallory Mal")
        with pytest.raises(Refused, match="longer than"):
            await mallory.ask(m.UserEdit("n", newnode="x" * 20_000))
        raw = (
            b'{"op":6,"id":"' + b"<" * 20_000 + b'","act":"join","gid":"there is none"}'
        )  # six times as long when escaped
        mallory._writer.write(b"%04x%b" % (len(raw), raw))
        answers = await asyncio.gather(*(alice.post(f"{number}", [], b"x") for number in range(50)))
        assert len(answers) == 50
        assert await mallory.closed() == "invalid header"
        assert instance.service.healthy
        await alice.quit()
        await mallory.close()
