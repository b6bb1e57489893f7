"""Look up what a request names by code, and gather every bad field before anything is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import as_rows, execute, rowset
from oms_ops.errors import FieldError, ValidationFailed

#: Units of one line, at most: more is a slip of the finger.
MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """``quantity`` units of a SKU (its code)."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Place:
    """A location as its row says it."""

    id: int
    code: str
    kind: str
    warehouse_id: int | None
    zone: str | None
    pick_sequence: int | None
    capacity_units: int | None
    is_active: bool


_PLACE = "id, code, kind, warehouse_id, zone, pick_sequence, capacity_units, is_active"


class Names:
    """The names of one request; every fault is kept in ``errors`` under its field."""

    def __init__(self, connection: Connection, what: str) -> None:
        """Look up in the database of ``connection``; ``what`` is refused (``The transfer``)."""
        self._connection = connection
        self._what = what
        self.errors: list[FieldError] = []

    def fault(self, field: str, code: str, message: str) -> None:
        """Keep a fault."""
        self.errors.append(FieldError(field, code, message))

    def check(self) -> None:
        """Raise ValidationFailed with all faults, if there are any."""
        if self.errors:
            raise ValidationFailed(f"{self._what} has bad fields.", self.errors)

    def some(self, field: str, given: Iterable[object]) -> None:
        """Keep a fault when a list is empty."""
        if not list(given):
            self.fault(field, "required", "at least one")

    def units(self, field: str, value: int, *, least: int = 1) -> None:
        """Keep a fault unless ``value`` is a number of units, ``least`` or more."""
        if not least <= value <= MOST_UNITS:
            self.fault(field, "out_of_range", f"between {least} and {MOST_UNITS}")

    def warehouse(self, field: str, code: str) -> int:
        """Return the id of an active warehouse, 0 (and keep a fault) when there is none."""
        return self.warehouses([(field, code)]).get(code, 0)

    def warehouses(self, named: Iterable[tuple[str, str]]) -> dict[str, int]:
        """Return the ids of active warehouses by their codes."""
        return self._ids("warehouses", "warehouse", named, "AND t.is_active")

    def skus(self, named: Iterable[tuple[str, str]], *, active: bool = False) -> dict[str, int]:
        """Return the ids of SKUs by their codes; what is no longer sold can still be moved."""
        return self._ids("skus", "sku", named, "AND t.is_active" if active else "")

    def places(
        self,
        named: Iterable[tuple[str, str]],
        warehouse_id: int,
        kinds: tuple[str, ...],
    ) -> dict[str, Place]:
        """Return locations by their codes: active ones of one warehouse and of some kinds."""
        wanted = list(named)
        rows = execute(
            self._connection,
            f"SELECT {_PLACE} FROM locations WHERE code IN"
            f" (SELECT code FROM ({rowset(self._connection, 'codes', {'code': 'text'})}) AS c)",
            {"codes": as_rows({"code": code} for code in sorted({code for _, code in wanted}))},
        )
        known = {row[1]: Place(*row) for row in rows}
        found = {
            code: place
            for code, place in known.items()
            if place.warehouse_id == warehouse_id and place.kind in kinds and place.is_active
        }
        for field, code in wanted:
            if code not in found:
                listed = " or ".join(kinds)
                self.fault(field, "unknown_location", f"no active {listed} {code!r} there")
        return found

    def _ids(
        self, table: str, noun: str, named: Iterable[tuple[str, str]], condition: str
    ) -> dict[str, int]:
        wanted = list(named)
        rows = self._connection.execute(
            sa.text(
                "SELECT t.code, t.id"
                f" FROM ({rowset(self._connection, 'codes', {'code': 'text'})}) AS c"
                f" JOIN {table} AS t ON t.code = c.code {condition}"
            ),
            {"codes": as_rows({"code": code} for code in sorted({code for _, code in wanted}))},
        )
        found = {row.code: int(row.id) for row in rows}
        for field, code in wanted:
            if code not in found:
                self.fault(field, f"unknown_{noun}", f"no {noun} {code!r}")
        return found


def world(connection: Connection) -> dict[str, Place]:
    """Return the locations outside the warehouses by their kind (``transit``, ...)."""
    rows = execute(
        connection,
        f"SELECT {_PLACE} FROM locations WHERE warehouse_id IS NULL ORDER BY id DESC",
        {},
    )
    return {row[2]: Place(*row) for row in rows}


def own(connection: Connection, kind: str) -> dict[int, Place]:
    """Return each warehouse's location of ``kind`` (``storage`` or ``quarantine``) by its id."""
    rows = execute(
        connection,
        f"SELECT {_PLACE} FROM locations WHERE kind = :kind ORDER BY id DESC",
        {"kind": kind},
    )
    return {row[3]: Place(*row) for row in rows}
