# SPDX-License-Identifier: AGPL-3.0-or-later
"""An instance's look, from the administrator's file to a client that checks who says so (B2)."""

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.instance import StartFailed
from gateway.settings import SettingsInvalid, load_settings
from tests.support.devices import newcomer
from tests.support.gateway import SETTINGS, endpoint, invited, member, running_gateway
from tests.support.instance import running_instance
from tmtp_client.connection import Connection
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.signing import Signer, signed_by
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.look import parse_look

SKIN = """
      light: {background: "#f6f7f9", surface: "#ffffff", text: "#1c1e21", muted: "#5b6470", accent: "#0B57D0", on_accent: "#ffffff"}
      dark: {background: "#131417", surface: "#1d1f24", text: "#e8eaed", muted: "#a3abb6", accent: "#8ab4f8", on_accent: "#0c1b33"}
      headings: serif
      logo: logo.webp
      backdrop: hills.png
"""
WITH_SKIN = SETTINGS.replace(
    '  - {name: members, policy: members, registration: invite, listen: [{tls: "127.0.0.1:0"}]}\n',
    f'  - name: members\n    policy: members\n    listen: [{{tls: "127.0.0.1:0"}}]\n    skin:{SKIN}',
)


def pictures(folder: Path) -> None:
    Image.new("RGBA", (640, 320), (11, 87, 208, 90)).save(folder / "logo.webp")
    Image.new("RGB", (4000, 1000), "green").save(folder / "hills.png")


async def test_a_client_gets_the_look_and_knows_whose_it_is(tmp_path: Path) -> None:
    pictures(tmp_path)
    async with running_gateway(tmp_path, WITH_SKIN) as gateway:
        invite = (await invited(gateway, "members")).token
        async with member(gateway, "members", "Ada Lovelace", invite) as ada:
            greeting = ada.connection.service.result()
            assert "skin" in greeting.features
            assert greeting.service is not None
            answer, data = await ada.connection.inquire(m2.ServiceInfo("1"))
        assert isinstance(answer, m2.Skin)
        assert signed_by(greeting.service.key, answer.sig, m2.SKIN, data)
        assert not signed_by(greeting.service.key, answer.sig, m2.SKIN, data + b" ")
        look = parse_look(data)
        assert (look.headings, look.font, look.light.accent) == ("serif", "system", "#0b57d0")
        assert look.logo is not None
        assert look.backdrop is not None
        with (
            Image.open(BytesIO(from_text(look.logo.data))) as logo,
            Image.open(BytesIO(from_text(look.backdrop.data))) as hills,
        ):
            assert (logo.format, logo.size) == ("PNG", (512, 256))
            assert (hills.format, hills.size) == ("JPEG", (1920, 480))
        connection = await Connection.open(endpoint(gateway, "public"), revision="2")
        assert "skin" not in connection.service.result().features
        await connection.close()


async def test_the_look_is_signed_once_not_for_every_one_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[int] = []
    sign = Signer.sign
    monkeypatch.setattr(Signer, "sign", lambda self, *what: (signed.append(len(what[-1])), sign(self, *what))[1])
    async with running_instance(tmp_path / "instance", skin=b"s" * 10_000) as instance:
        ada = await newcomer(instance, "Ada Lovelace")
        answers = [await ada.connection.inquire(m2.ServiceInfo(f"{number}")) for number in range(3)]
        await ada.quit()
    assert [data for _, data in answers] == [b"s" * 10_000] * 3
    assert signed.count(10_000) == 1


async def test_a_picture_that_is_none_is_said_before_anything_starts(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "hills.png").write_bytes(b"<svg/>")
    (tmp_path / "gateway.yaml").write_text(WITH_SKIN, "utf-8")
    with pytest.raises(SettingsInvalid) as invalid:
        load_settings(tmp_path / "gateway.yaml", open_pictures=True)
    (problem,) = invalid.value.problems
    assert problem.path == "instances[0].skin.backdrop"
    assert "no PNG, JPEG or WebP" in problem.wrong
    gateway = Gateway(load_settings(tmp_path / "gateway.yaml"), SystemClock(), os.urandom)
    with pytest.raises(StartFailed, match=r"cannot show its backdrop: .*hills\.png: it is no PNG"):
        await gateway.start()
