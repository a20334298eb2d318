# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forms by the local API: made, filled in, told apart, gathered (B5)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api_world import WORK, World, acquainted_world, problem, send_now
from tests.support.gateway import running_gateway
from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as gateway, acquainted_world(gateway, tmp_path) as made:
        yield made


async def test_forms(world: World) -> None:
    ada, bob = world.ada, world.bob
    fields = (m.FormField("day", "date", "Which day?", required=True), m.FormField("n", "integer", "How many?"))
    form = m.Form("", "Dinner", fields)
    mine, there = await world.talk("Please answer", form=form)
    [blank] = there.attachments
    assert blank.kind == "form"
    assert (await problem(bob("messages.fill", o.FillForm("work", there.id, 0, {"n": 2})))).code == "usage"
    await bob(
        "messages.fill", o.FillForm("work", there.id, blank.place, {"day": "2026-12-24", "n": 2}, "With pleasure")
    )
    await send_now(bob)
    answer = await ada.message("work", "With pleasure")
    assert [one.kind for one in answer.attachments] == ["filled"]
    table = await ada("forms.answers", o.OfForm("work", mine.attachments[0].form))
    assert [row[-2:] for row in table.rows] == [("2026-12-24", 2)]
    csv = (await ada("forms.csv", o.OfForm("work", mine.attachments[0].form))).text
    assert csv.splitlines()[1].endswith("2026-12-24,2")


async def test_forms_of_one_name_are_told_apart_by_where_they_stand(world: World) -> None:
    """What is shown is what is filled in, whoever else used the name; each conversation has its own answers."""
    ada, bob = world.ada, world.bob
    dish = m.FormField("dish", "one", "Which dish?", choices=("soup", "bread"))
    mine, there = await world.talk("First", form=m.Form("dinner", "Dinner", (dish,)))
    other = m.Form("dinner", "Another", (m.FormField("pin", "text", "Which number?"),))
    _, again = await world.talk("Second", form=other)
    third = m.Form("dinner", "Dinner", (m.FormField("date", "date", "Which day?"),))
    await ada("messages.send", o.Send("work", text="Third", reply=mine.id, form=third, delay_s=0))
    beside = await bob.message("work", "Third")
    for message, name in ((there, "dish"), (again, "pin"), (beside, "date")):
        shown = await bob("forms.answers", o.OfForm("work", "dinner", message.id, 0))
        assert [one.name for one in shown.form.fields] == [name]
    waiting = await bob("messages.fill", o.FillForm("work", there.id, 0, {"dish": "soup"}, "Soup, please"))
    assert waiting.filled == "dinner"
    said = await bob("forms.waiting", o.OfWaitingAnswer("work", waiting.request))
    assert said == m.WaitingAnswer(beside.id, 0, {"dish": "soup"})
    assert (await problem(bob("forms.waiting", o.OfWaitingAnswer("work", "nothing")))).field == "request"
    await send_now(bob)
    answer = await ada.message("work", "Soup, please")
    of_thread = await ada("forms.answers", o.OfForm("work", "dinner", mine.id, 0))
    of_answer = await ada("forms.answers", o.OfForm("work", "dinner", answer.id, 0))
    assert of_thread == of_answer
    assert [row[-1] for row in of_thread.rows] == ["soup"]
    assert (await bob("forms.answers", o.OfForm("work", "dinner", again.id, 0))).rows == ()
    assert len((await ada("forms.answers", o.OfForm("work", "dinner"))).rows) == 1
    assert (await problem(ada("forms.answers", o.OfForm("work", "dinner", "nowhere")))).field == "message"


async def test_a_form_that_is_being_made_and_one_that_is_being_filled_in_are_drafts(world: World) -> None:
    ada = world.ada
    half = m.Form("", "", (m.FormField("q1", "one", ""),))
    await ada("drafts.save", o.SaveDraft("work", m.Draft("new-1", form=half)))
    await ada("drafts.save", o.SaveDraft("work", m.Draft("fill-1", thread="t", filled={"dish": "soup", "n": 2})))
    kept = {one.key: (one.form, one.filled) for one in await ada("drafts.list", WORK)}
    assert kept == {"new-1": (half, {}), "fill-1": (None, {"dish": "soup", "n": 2})}
    long = m.Draft("new-1", filled={"dish": "x" * limits.DRAFT_FORM_MAX_BYTES})
    assert (await problem(ada("drafts.save", o.SaveDraft("work", long)))).field == "form"
    await ada("drafts.drop", o.OfDraft("work", "fill-1"))
    await ada("drafts.save", o.SaveDraft("work", m.Draft("new-1")))
    assert await ada("drafts.list", WORK) == []
