"""Changes that are set aside: they are in the lake, a copy of the log, and not in the warehouse.

A file beside the lake's says which, why, since when and what a person decided. The models read the
lake without them (``dbt_project/macros/lake.sql``). A change comes back when its row in the lake is
mended, or when somebody releases it. What the warehouse has gone past cannot come back by an
increment: then the number of the lake's past is raised, and the warehouse is built anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from oms_ops import clock
from oms_ops.feed.reader import Cursor
from pipelines.lib import lake, past, screening
from pipelines.lib.files import replace_text
from pipelines.lib.lake import QUARANTINE
from pipelines.lib.screening import Identity

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

#: Nobody looked yet; let in all the same; out for good, and nobody is warned of it any more.
Decision = Literal["held", "released", "dropped"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change that broke a rule: its place in the feed, where it landed, and what became of it.

    ``file`` is the file that it came in; a merge may have moved it since.
    """

    epoch: int
    xid: int
    seq: int
    file: str
    entity: str | None
    entity_id: int | None
    op: str | None
    reason: str
    found_at: str
    decision: Decision = "held"
    decided_by: str | None = None
    decided_at: str | None = None

    @property
    def identity(self) -> Identity:
        """What names the change."""
        return self.epoch, self.seq

    @property
    def place(self) -> Cursor:
        """Where it stands in the feed."""
        return Cursor(self.epoch, self.xid, self.seq)

    def __str__(self) -> str:
        """Return it on one line, for people."""
        known = [str(part) for part in (self.op, self.entity, self.entity_id) if part is not None]
        return f"{self.epoch}:{self.seq} ({' '.join(known)}), {self.reason}, in {self.file}"


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a look at the landed changes did to the quarantine."""

    entries: tuple[Entry, ...]
    entered: int
    returned: int

    @property
    def held(self) -> tuple[Entry, ...]:
        """The changes that wait for somebody."""
        return tuple(entry for entry in self.entries if entry.decision == "held")

    @property
    def detail(self) -> str:
        """How many wait, for which reasons, and the first of them; empty without any."""
        if not self.held:
            return ""
        reasons = Counter(entry.reason for entry in self.held)
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        return f"{len(self.held):,} in quarantine ({told}); the first: {self.held[0]}"


def load(folder: Path) -> list[Entry]:
    """Return all that was set aside and is not mended, whatever was decided of it."""
    path = folder / QUARANTINE
    if not path.exists():
        return []
    return [Entry(**entry) for entry in json.loads(path.read_text("utf-8"))]


def decided(folder: Path) -> set[Identity]:
    """Return the changes that a person has judged: no rule is asked about them again."""
    return {entry.identity for entry in load(folder) if entry.decision != "held"}


def frame(folder: Path) -> pl.DataFrame:
    """Return the numbers of the changes that the warehouse is made without."""
    aside = [entry.identity for entry in load(folder) if entry.decision != "released"]
    return pl.DataFrame(aside, schema={"epoch": pl.Int32, "seq": pl.Int64}, orient="row")


def sort(
    folder: Path, new: Sequence[Path], processed: Cursor, remote: Objects | None = None
) -> Sorting:
    """Set aside the bad changes of the files ``new``; let go of those that were mended.

    ``processed`` is the place that a whole build of the warehouse has gone past.
    """
    before = {entry.identity: entry for entry in load(folder)}
    judged = decided(folder)
    found = _faults(screening.faults(new, besides=judged))
    rest = [path for path in _holding(folder, before.values()) if path not in set(new)]
    still = _faults(screening.faults(rest, only=before.keys()))
    still |= _faults(screening.faults(new, only=judged))
    now = {
        identity: before.get(identity) or Entry(**fault, found_at=clock.now().isoformat())
        for identity, fault in sorted((found | still).items())
    }
    entered = [entry for identity, entry in now.items() if identity not in before]
    gone = [e for e in before.values() if e.identity not in now and e.decision != "released"]
    if gone:
        past.renew(folder, f"{len(gone):,} changes came back from the quarantine", remote)
    elif any(entry.place <= processed for entry in entered):
        past.renew(folder, "changes that were built from went to the quarantine", remote)
    if now != before:
        _save(folder, now.values(), remote)
    return Sorting(tuple(now.values()), len(entered), len(gone))


def decide(
    folder: Path,
    identities: Collection[Identity] | None,
    decision: Decision,
    by: str,
    remote: Objects | None = None,
) -> list[Entry]:
    """Release or drop changes, all that wait where none are named; return them as they are now.

    Raises:
        ValueError: one of them is not in quarantine.
    """
    entries = {entry.identity: entry for entry in load(folder)}
    if identities is None:
        identities = [identity for identity, e in entries.items() if e.decision == "held"]
    unknown = [f"{epoch}:{seq}" for epoch, seq in identities if (epoch, seq) not in entries]
    if unknown:
        raise ValueError(f"not in quarantine: {', '.join(unknown)}")
    chosen = [entries[identity] for identity in identities]
    if any((entry.decision == "released") != (decision == "released") for entry in chosen):
        past.renew(folder, f"{len(chosen):,} changes in quarantine were {decision}", remote)
    at = clock.now().isoformat()
    done = [replace(e, decision=decision, decided_by=by, decided_at=at) for e in chosen]
    if done:
        _save(folder, (entries | {entry.identity: entry for entry in done}).values(), remote)
    return done


def _faults(found: Iterable[Mapping[str, Any]]) -> dict[Identity, Mapping[str, Any]]:
    return {(fault["epoch"], fault["seq"]): fault for fault in found}


def _holding(folder: Path, entries: Collection[Entry]) -> list[Path]:
    """Return the files of the lake that hold ``entries``."""
    return [
        file.path
        for file in lake.landed(folder)
        if any(file.after < entry.place <= file.upto for entry in entries)
    ]


def _save(folder: Path, entries: Iterable[Entry], remote: Objects | None) -> None:
    replace_text(folder / QUARANTINE, json.dumps([asdict(e) for e in entries], indent=1))
    if remote is not None:
        remote.put(folder / QUARANTINE, QUARANTINE)


def parse(text: str) -> Identity:
    """Return the change that ``EPOCH:SEQ`` names; raise ValueError where it names none."""
    epoch, _, seq = text.partition(":")
    if not (epoch.isdecimal() and seq.isdecimal()):
        raise ValueError(f"{text} names no change: write EPOCH:SEQ, as the list has it")
    return int(epoch), int(seq)
