# SPDX-License-Identifier: AGPL-3.0-or-later
"""DMARC (RFC 9989): which domains belong together, by the tree walk, and what a domain's owner wants.

Here only alignment decides: whether the domain that was proved is the author's. Without a policy a domain belongs to
nobody but itself, so then only the same domain is aligned.
"""

from dataclasses import dataclass, field
from typing import Final

from bridges.smtp.proof.resolver import Lookups

_LABELS_MAX: Final = 8  # RFC 9989 §4.10: longer names are cut, so that a walk costs eight look-ups at most


class Unsure(Exception):
    """A record that decides cannot be looked up just now."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The record that counts for an author's domain, and where it was found; `domain` "": there is none."""

    domain: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def strict(self, tag: str) -> bool:
        """Whether alignment means the same domain; `tag`: adkim or aspf."""
        return self.tags.get(tag, "r").lower() == "s"

    def wanted(self, author_domain: str) -> str:
        """What the owner wants of mail that fails: none, quarantine or reject; "" without a policy."""
        if not self.domain:
            return ""
        wish = self.tags.get("p", "none").lower()
        if self.domain != author_domain:
            wish = self.tags.get("sp", wish).lower()
        return wish if wish in {"none", "quarantine", "reject"} else "none"


class Alignment:
    """Alignment with the domain of one author."""

    def __init__(self, author_domain: str, lookups: Lookups) -> None:
        self._author = author_domain
        self._lookups = lookups

    async def aligned(self, domain: str, tag: str) -> bool:
        """Whether `domain` is the author's (RFC 9989 §4.4). Raises `Unsure`."""
        if not domain:
            return False
        if domain == self._author:
            return True
        if domain.rsplit(".", maxsplit=1)[-1] != self._author.split(".")[-1] or (await self.policy()).strict(tag):
            return False
        mine, other = await self._organizational(self._author), await self._organizational(domain)
        # A registry that publishes a policy without psd=y would own everybody: no single label joins two names.
        return mine == other and "." in mine

    async def policy(self) -> Policy:
        """The policy for the author's domain (RFC 9989 §4.10.1). Raises `Unsure`."""
        found = await self._walk(self._author)
        for name in (self._author, await self._organizational(self._author)):
            if name in found:
                return Policy(name, found[name])
        suffix = [name for name, tags in found.items() if tags.get("psd", "").lower() == "y"]
        return Policy(suffix[0], found[suffix[0]]) if suffix else Policy()

    async def _organizational(self, domain: str) -> str:
        """RFC 9989 §4.10.2: the last record on the way up, where psd= ends the walk, or the name below a registry."""
        found = await self._walk(domain)
        if not found:
            return domain
        last = list(found)[-1]
        if found[last].get("psd", "").lower() == "y" and last != domain:
            return ".".join(domain.split(".")[-1 - len(last.split(".")) :])
        return last

    async def _walk(self, domain: str) -> dict[str, dict[str, str]]:
        """RFC 9989 §4.10: the records from a domain up to its last label, the longest name first."""
        found: dict[str, dict[str, str]] = {}
        for name in walk_targets(domain):
            answered = await self._lookups.ask(f"_dmarc.{name}", "TXT")
            if answered.failed:
                raise Unsure(f"_dmarc.{name} cannot be looked up just now")
            records = [tags for tags in map(_record, answered.values) if tags is not None]
            if len(records) == 1:  # several are none
                found[name] = records[0]
                if records[0].get("psd", "").lower() in {"y", "n"}:
                    break
        return found


def walk_targets(domain: str) -> list[str]:
    """The names that a walk looks at, in order."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) < _LABELS_MAX else labels[-(_LABELS_MAX - 1) :]
    return [domain, *(".".join(rest[place:]) for place in range(len(rest)))]


def _record(value: bytes) -> dict[str, str] | None:
    """The tags of a DMARC record, or None for what is none (RFC 9989 §4.8: `v=DMARC1` first)."""
    tags: dict[str, str] = {}
    for place, part in enumerate(value.decode("utf-8", "replace").split(";")):
        name, equals, content = part.partition("=")
        if place == 0 and (name.strip() != "v" or content.strip() != "DMARC1"):
            return None
        if equals:
            tags.setdefault(name.strip().lower(), content.strip())
    return tags
