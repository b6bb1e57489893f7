"""What a run did, stage by stage, and which checks it made: kept in memory, published with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from oms_ops import clock
from pipelines.lib.failpoints import reach

if TYPE_CHECKING:
    from pipelines.lib.expectations import Outcome
    from pipelines.lib.quarantine import Entry

Severity = Literal["WARN", "ERROR"]


@dataclass(slots=True)
class Stage:
    """One stage's work; ``bytes`` is what it wrote to disk."""

    name: str
    seconds: float = 0.0
    rows_read: int = 0
    rows_written: int = 0
    bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check; a failed ``ERROR`` blocks the publication.

    ``is_news``: people are told of it though the last snapshot warned of the same.
    """

    name: str
    asset: str
    severity: Severity
    passed: bool
    detail: str = ""
    is_news: bool = False

    @property
    def key(self) -> str:
        """What names the check: ``asset: check``."""
        return f"{self.asset}: {self.name}"

    @property
    def warns(self) -> bool:
        """Whether the snapshot is published and people are to know of it."""
        return not self.passed and self.severity == "WARN"

    @property
    def blocks(self) -> bool:
        """Whether nothing may be published because of it."""
        return not self.passed and self.severity == "ERROR"


@dataclass(frozen=True, slots=True)
class Progress:
    """A step inside a stage: ``done`` of ``total`` parts, the last of them ``part``."""

    stage: str
    done: int
    total: int
    part: str


Listener = Callable[[Stage | Progress], None]

#: Called when a stage begins (its seconds are 0), moves on and ends; the command line shows it.
listeners: list[Listener] = []


@dataclass(slots=True)
class Journal:
    """The record of one run in this process."""

    run_id: str
    started_at: datetime = field(default_factory=clock.now)
    stages: list[Stage] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    quarantine: tuple[Entry, ...] = ()
    #: When a run should look though nothing changed: that nothing changes is then odd.
    look_again_at: datetime | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage; the block fills in what it read and wrote."""
        stage = Stage(name)
        tell(stage)
        start = time.perf_counter()
        reach(f"{name}: begins")
        try:
            yield stage
            reach(f"{name}: ends")
        finally:
            stage.seconds = time.perf_counter() - start
            self.stages.append(stage)
            tell(stage)

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """Names of the checks that block, as ``asset: check``."""
        return tuple(check.key for check in self.checks if check.blocks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Names of the checks that warn."""
        return tuple(check.key for check in self.checks if check.warns)


def tell(event: Stage | Progress) -> None:
    """Pass an event to whoever listens in this process."""
    for listener in listeners:
        listener(event)
