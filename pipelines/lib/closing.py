"""A day of the shop as files, for bookkeeping and whoever else takes days over.

A closed day is a folder of CSV files, one a mart that counts by day, and ``close.json``, which is
written last and says what belongs together. Closing a day again gives the same files, unless the
shop wrote to the past meanwhile; then it says which of them it restated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from oms_ops import clock
from pipelines.lib.files import replace_text as replace
from pipelines.lib.files import sync_file, sync_folder

#: The marts that count by day.
MARTS = (
    "orders_daily",
    "sales_daily",
    "sku_sales_daily",
    "payments_daily",
    "service_daily",
    "care_daily",
    "feedback_daily",
    "stock_daily",
)

FOLDER = "daily"


class NotOver(ValueError):
    """The newest snapshot does not have the whole day."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a closed day: its rows and what its content comes to."""

    mart: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed day; ``restated`` are the marts that were not the same when it was closed last."""

    day: date
    snapshot: str
    parts: tuple[Part, ...]
    restated: tuple[str, ...]

    @property
    def rows(self) -> int:
        """The rows of all files."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(part.bytes for part in self.parts)


def close(published: Path, day: date) -> Closed:
    """Write the files of ``day`` from the newest snapshot below ``published``.

    Raises:
        NotOver: there is no snapshot, or it was made before the day was over.
    """
    current = published / "current.duckdb"
    if not current.exists():
        raise NotOver(f"{day} cannot be closed: nothing was published yet")
    path = current.resolve()
    folder = published / FOLDER / day.isoformat()
    before = _sums(folder / "close.json")
    with duckdb.connect(path, read_only=True) as snapshot:
        [(of,)] = snapshot.execute("SELECT business_date FROM meta.snapshot").fetchall()
        if of <= day:
            raise NotOver(f"{day} cannot be closed: the newest snapshot is of {of}")
        folder.mkdir(parents=True, exist_ok=True)
        parts = tuple(_write(snapshot, folder, mart, day) for mart in MARTS)
    sync_folder(folder)
    restated = tuple(p.mart for p in parts if before.get(p.mart, p.sha256) != p.sha256)
    replace(
        folder / "close.json",
        json.dumps(
            {
                "day": day.isoformat(),
                "snapshot": path.name,
                "closed_at": clock.now().isoformat(),
                "files": {part.mart: asdict(part) for part in parts},
                "restated": restated,
            },
            indent=1,
        ),
    )
    return Closed(day, path.name, parts, restated)


def _write(snapshot: duckdb.DuckDBPyConnection, folder: Path, mart: str, day: date) -> Part:
    aside = folder / f".{mart}.csv.tmp"
    # In an order of its own, or the same rows would not be the same file.
    copied = snapshot.execute(
        f"COPY (SELECT * FROM marts.{mart} WHERE day = DATE '{day:%Y-%m-%d}' ORDER BY ALL)"
        f" TO '{aside}' (FORMAT csv, HEADER)"
    ).fetchone()
    sync_file(aside)
    content = aside.read_bytes()
    aside.replace(folder / f"{mart}.csv")
    digest = hashlib.sha256(content).hexdigest()
    return Part(mart, int(copied[0]) if copied else 0, len(content), digest)


def _sums(path: Path) -> Mapping[str, str]:
    """Return what the files of a day came to when it was closed last."""
    if not path.exists():
        return {}
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {mart: part["sha256"] for mart, part in told["files"].items()}
