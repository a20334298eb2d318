# SPDX-License-Identifier: AGPL-3.0-or-later
"""How large the scenarios of `bench.suite` are: as for an organisation of ten thousand, or for a test's few seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.load import Crowd, Shape
from bench.server import BenchServer
from bench.worker import Place


@dataclass(frozen=True, slots=True)
class Scale:
    """Of everything that is measured. `rounds`: of each side of a ratio, in turns; `workers` None: as many as fit."""

    seconds: float = 3.0
    warm_up_s: float = 1.0
    disk_s: float = 1.0
    rounds: int = 2
    clients: int = 200
    many: int = 1_000
    rate: float = 1_000.0
    group: int = 100
    group_rate: float = 40.0
    links: int = 10_000
    storm: int = 5_000
    queued: int = 1_000_000
    offline: int = 1_000  # devices that the queued messages wait for
    drained: int = 150  # of them, that then come and take theirs
    few: int = 1_000  # queued messages, against which the cost at `queued` is held
    attachment: int = 100_000_000
    pairs: int = 3  # that exchange attachments at the same time
    attachments: int = 2  # of each pair
    history: int = 100_000  # messages that a client has
    workers: int | None = None

    def shape(self, **given: Any) -> Shape:
        """A load of this scale."""
        return Shape(**{"clients": self.clients, "seconds": self.seconds, "warm_up_s": self.warm_up_s, **given})

    def crowd(self, server: BenchServer | Sequence[Place], workers: int | None = None) -> Crowd:
        """Members for a server, or several. `workers`: where more than usual are useful, as for links without posts."""
        if isinstance(server, BenchServer):
            return Crowd(Place("127.0.0.1", server.port), self.workers or workers)
        return Crowd(server, workers)


Result = dict[str, Any]
"""Figures by name, as JSON holds them; `problems` are promises that were broken."""

Scenario = Callable[[Scale], Result]

MIB: Final = 1 << 20
