# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files, searching, forms' answers, settings, writing everything out."""

from typing import Any, Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import OfAccount, Operation


class Stage(Struct, frozen=True, forbid_unknown_fields=True):
    """Take in a file of this device. Pages upload instead: `POST /files/ACCOUNT?name=…`."""

    account: str
    path: str


class OfStaged(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that was staged."""

    account: str
    file: str


class SaveFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Write an attachment into a folder of this device; it never replaces a file, and never runs one."""

    account: str
    message: str
    place: int
    folder: str


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """Words, "phrases", pref*, -without, from: to: in: has: before: after: tag:. `account` empty: over all."""

    query: str
    account: str = ""
    limit: int = 50
    skip: int = 0


class OfWaitingAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to a form that waits to be sent, by its request."""

    account: str
    request: str


class OfForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A form, by its `ffn`. Two may go by one: with a `message` it is that which this has at `place`, or else its
    thread, with the answers that were given there.
    """

    account: str
    ffn: str
    message: str = ""
    place: int = 0


class Render(Struct, frozen=True, forbid_unknown_fields=True):
    """CommonMark, tables, strikethrough and task lists."""

    text: str


class SetSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """For all devices of an account; known names: tmtp_client.sync.settings."""

    account: str
    name: str
    value: Any


class Settings(Struct, frozen=True):
    """All of them, with what they are when nobody set them."""

    values: dict[str, Any]


class Export(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole history of an account, in plain text, into a new file (mbox) or folder (JSON and files)."""

    account: str
    path: str
    format: Literal["mbox", "json"]


CONTENTS: Final = (
    Operation("files.stage", Stage, m.Staged, "Take in a file to send."),
    Operation("files.drop", OfStaged, m.Done, "Forget one that was taken in."),
    Operation("files.save", SaveFile, m.Exported, "Write an attachment to the disk."),
    Operation("tags.list", OfAccount, m.Tag, "Tags in use.", many=True),
    Operation("search", Search, m.Results, "Find messages."),
    Operation("forms.answers", OfForm, m.FormAnswers, "The table of a form's answers."),
    Operation("forms.waiting", OfWaitingAnswer, m.WaitingAnswer, "What an answer says that has not left yet."),
    Operation("forms.csv", OfForm, m.Text, "The same as CSV."),
    Operation("render", Render, m.Rendered, "Markdown as safe HTML.", keeps_open=False),
    Operation("settings.list", OfAccount, Settings, "Settings of an account."),
    Operation("settings.set", SetSetting, Settings, "Change one."),
    Operation("history.export", Export, m.Exported, "Write everything out.", only_waits=True),
)
