# SPDX-License-Identifier: AGPL-3.0-or-later
"""Filled forms that a message brings, or takes to others, go into the table of their form's answers (wire.md §11)."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.engine import answers, forms
from tmtp_client.vault.files import FileDamaged, Files


class Attached(Protocol):
    """What is needed of an attachment."""

    @property
    def kind(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def size(self) -> int: ...


def gather(c: Rows, files: Files, message: str, author: str, attachments: Iterable[Attached]) -> None:
    """In the transaction that keeps the message. What is no answer to anything stays an attachment and no more."""
    for place, one in enumerate(attachments):
        if one.kind != "filled" or not one.file or one.size > limits.FILLED_MAX_BYTES:
            continue
        with suppress(forms.FormTrouble, FileDamaged, OSError):
            values = forms.read_values(b"".join(files.read(one.file)))
            answers.record(c, message, place, one.form, author, values)
