"""Files that others drop in a folder: ``KIND/`` or ``KIND/SOURCE/`` says what they are.

A file is complete under its name: who writes it does so under another one (with a dot before it,
or ending in ``.part`` or ``.tmp``) and renames it. Beside it may lie a ``mapping.toml``. What was
taken goes to ``.done``, with a report of the rows that were rejected beside it; a file that nothing
can be made of goes to ``.refused``, with the reason. Taken twice, because a crash came between, a
file changes nothing more: its rows are ``repeated``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.errors import OmsError
from oms_ops.exchange import files
from oms_ops.exchange.mapping import Mapping, load

MAPPING = "mapping.toml"
_UNFINISHED = (".part", ".tmp")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a file: its import and the rows of each fate, or the refusal."""

    name: str
    number: str = ""
    counts: str = ""
    rejected: int = 0
    refusal: str = ""

    def __str__(self) -> str:
        """Return it for logs and people."""
        return f"{self.name}: {self.refusal or f'{self.number}, {self.counts}'}"


def waiting(folder: Path) -> list[Path]:
    """Return the files that wait, the oldest first."""
    found = [
        path
        for kind in files.KINDS
        for pattern in ("*", "*/*")
        for path in (folder / kind).glob(pattern)
        if path.is_file() and path.name != MAPPING and not _is_unfinished(path, folder)
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path))


def _is_unfinished(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return hidden or path.suffix in _UNFINISHED


def ingest(engine: Engine, actor: Actor, folder: Path) -> Iterator[Ingested]:
    """Import every file that waits, one after the other; yield what became of each.

    A file whose import breaks off (the database is away) stays where it is, for the next time.
    """
    for path in waiting(folder):
        yield _take(engine, actor, folder, path)


def _take(engine: Engine, actor: Actor, folder: Path, path: Path) -> Ingested:
    name = path.relative_to(folder).as_posix()
    kind = name.split("/", 1)[0]
    try:
        mapping = path.parent / MAPPING
        columns = load(mapping) if mapping.exists() else Mapping()
        report = files.import_file(engine, actor, kind, path, columns)
    except OmsError as error:
        gone = _move(path, folder / ".refused" / kind)
        gone.with_name(f"{gone.name}.reason.txt").write_text(f"{error}\n", encoding="utf-8")
        return Ingested(name, refusal=str(error))
    there = folder / ".done" / kind
    there.mkdir(parents=True, exist_ok=True)
    if report.rejected:
        files.save_report(report, there / f"{report.number}-rejected.csv")
    _move(path, there, f"{report.number}-{path.name}")
    counts = ", ".join(f"{count:,} {fate}" for fate, count in report.counts.items()) or "no rows"
    return Ingested(name, report.number, counts, len(report.rejected))


def _move(path: Path, folder: Path, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (name or f"{clock.now():%Y%m%dT%H%M%S%f}-{path.name}")
    return path.replace(target)
