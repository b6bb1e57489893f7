"""A carrier that is spoken to by files in a folder, which somebody syncs with the carrier's.

    out/     our manifests, one a booking: <booking>.csv or .json
    in/      what the carrier writes: labels-*.csv|json and events-*.csv|json
    done/    files that were taken whole
    failed/  files of which a row was not taken, each with its <name>.reasons.csv

A file is written under a hidden name and renamed, so that nobody reads half of one. What the
carrier writes is read once it has been quiet for a while, and put away only if it has not changed
since it was read.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oms_ops.fulfilment.carriers import entries
from oms_ops.fulfilment.carriers.interface import Booking, Fault, Label, Message, Refusal
from oms_ops.rules.document import CarrierRule

#: What programs call files that they are still writing.
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".swp", "~")
_FOLDERS = ("out", "in", "done", "failed")
_ADDRESS = ("name", "line1", "line2", "city", "region", "postal_code", "country", "phone")


class DropFolder:
    """The adapter ``file``."""

    needs_tracking_number = False

    def __init__(self, folder: Path, rule: CarrierRule) -> None:
        """Use ``folder``; it is made when it is first needed."""
        self._folder = folder
        self._rule = rule

    def book(self, bookings: Sequence[Booking]) -> Sequence[Label | Refusal]:
        """Write the manifest of each booking; the same bookings write the same file again."""
        self._prepare()
        for name in sorted({b.booking for b in bookings}):
            chosen = [b for b in bookings if b.booking == name]
            text = _as_csv(chosen) if self._rule.format == "csv" else _as_json(name, chosen)
            _write(self._folder / "out" / f"{name}.{self._rule.format}", text)
        return []

    def events(self) -> Iterator[Message]:
        """Return each file that is quiet, labels first: an event may name a new parcel."""
        for path in sorted(self._waiting(), key=lambda p: (not p.name.startswith("labels"), p)):
            try:
                before = _stamp(path)
                if time.time() - before[1] / 1e9 < self._rule.quiet_seconds:
                    continue
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # another process was faster
            yield entries.read(path.name, content, state=before)

    def settle(self, message: Message, faults: Sequence[Fault]) -> None:
        """Move a file to ``done/`` or ``failed/``, unless it was written to meanwhile."""
        self._prepare()
        source = self._folder / "in" / message.name
        try:
            if _stamp(source) != message.state:
                return
            target = _free(self._folder / ("failed" if faults else "done") / message.name)
            if faults:
                reasons = target.with_name(f"{target.name}.reasons.csv")
                _write(reasons, entries.reasons(message, faults))
            source.rename(target)
        except FileNotFoundError:
            return  # another process was faster
        _sync(target.parent)

    def state(self) -> dict[str, Any]:
        """Return the folder, and how many files wait to be read and to be mended."""
        failed = self._folder / "failed"
        kept = [p for p in _files(failed) if not p.name.endswith(".reasons.csv")]
        return {
            "folder": str(self._folder),
            "waiting": len(list(self._waiting())),
            "failed": len(kept),
        }

    def _waiting(self) -> Iterator[Path]:
        return _files(self._folder / "in")

    def _prepare(self) -> None:
        for name in _FOLDERS:
            (self._folder / name).mkdir(parents=True, exist_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    """Return the finished files in a folder, none if there is no folder."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_file() and path.name[0] != "." and not path.name.endswith(_UNFINISHED):
            yield path


def _stamp(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_size, seen.st_mtime_ns


def _free(target: Path) -> Path:
    """Return a name that is not taken: a carrier may use one twice."""
    number, free = 1, target
    while free.exists():
        number += 1
        free = target.with_name(f"{target.stem}.{number}{target.suffix}")
    return free


def _write(target: Path, text: str) -> None:
    """Write a file whole or not at all, and make it last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with aside.open("w", encoding="utf-8", newline="") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_COLUMNS = (
    "reference", "shipment", "order", "parcel_no", "parcels", "weight_grams",
    *(f"to_{part}" for part in _ADDRESS), *(f"from_{part}" for part in _ADDRESS),
)  # fmt: skip


def _as_csv(bookings: Sequence[Booking]) -> str:
    """Return a manifest with a row a parcel."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    for b in bookings:
        for parcel in b.parcels:
            writer.writerow(
                {
                    "reference": b.reference,
                    "shipment": b.shipment,
                    "order": b.order,
                    "parcel_no": parcel.parcel_no,
                    "parcels": len(b.parcels),
                    "weight_grams": parcel.weight_grams,
                    **{f"to_{part}": b.ship_to.get(part) for part in _ADDRESS},
                    **{f"from_{part}": b.ship_from.get(part) for part in _ADDRESS},
                }
            )
    return text.getvalue()


def _as_json(name: str, bookings: Sequence[Booking]) -> str:
    shipments = [
        {
            "reference": b.reference,
            "shipment": b.shipment,
            "order": b.order,
            "ship_from": dict(b.ship_from),
            "ship_to": dict(b.ship_to),
            "parcels": [
                {"parcel_no": p.parcel_no, "weight_grams": p.weight_grams} for p in b.parcels
            ],
        }
        for b in bookings
    ]
    return json.dumps({"booking": name, "shipments": shipments}, indent=1)
