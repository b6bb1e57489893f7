"""Warehouses and the locations that stand for them and for the world around them.

A closed warehouse ships and receives nothing more; its history stays. So it is closed only when
there is nothing in it, nothing on its way to it and nobody who waits for it.
"""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, StringConstraints, model_validator
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import STOCK_READ, WAREHOUSES_WRITE, Actor
from oms_ops.addresses import place_faults
from oms_ops.database import execute, unique_again
from oms_ops.errors import Conflict, FieldError, ValidationFailed
from oms_ops.regions import code_of
from oms_ops.shapes import Body, Text, parsed
from oms_ops.stock.tables import WORLD_KINDS, Location, Warehouse

Label = Annotated[str, Field(max_length=200)]
#: Stands in the names of the warehouse's own places, in files and in addresses.
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]


class WarehouseIn(Body):
    """A building that ships and receives; routing prefers the smaller ``rank``, all else alike.

    Coordinates are degrees; without them routing takes the middle of its region or country.
    """

    name: Text
    line1: Label = ""
    city: Text
    region: Label = ""
    postal_code: Label = ""
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    rank: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    is_active: bool = True

    @model_validator(mode="after")
    def _both_or_none(self) -> WarehouseIn:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude come together")
        return self


def parse(given: dict[str, Any]) -> WarehouseIn:
    """Return the warehouse that a command line states.

    Raises:
        ValidationFailed: with every bad field.
    """
    return parsed(WarehouseIn, given, "The warehouse")


def parse_code(given: str) -> str:
    """Return a warehouse's code; raise ValidationFailed where it cannot be one."""
    return parsed(_Coded, {"code": given}, "The warehouse").code


class _Coded(Body):
    code: Code


def ensure_world(connection: Connection, actor: Actor) -> None:
    """Create once the locations that must be: the world's, and each warehouse's quarantine."""
    known = set(connection.scalars(sa.select(Location.code)))
    wanted: list[tuple[str, str, int | None]] = [(kind.upper(), kind, None) for kind in WORLD_KINDS]
    for warehouse_id, code in connection.execute(sa.select(Warehouse.id, Warehouse.code)):
        wanted.append((f"{code}-QUARANTINE", "quarantine", warehouse_id))
    rows = [
        {
            "code": code,
            "kind": kind,
            "warehouse_id": warehouse_id,
            "changed_by": actor.name,
            "changed_at": clock.now(),
        }
        for code, kind, warehouse_id in wanted
        if code not in known
    ]
    if rows:
        connection.execute(sa.insert(Location), rows)


def create(connection: Connection, actor: Actor, **fields: Any) -> int:
    """Create a warehouse (columns of ``Warehouse``) with storage and quarantine; return its id.

    Its region is kept as addresses keep theirs.
    """
    actor.require(WAREHOUSES_WRITE)
    fields = _kept(fields)
    stamp = {"changed_by": actor.name, "changed_at": clock.now()}
    warehouse_id = connection.execute(
        sa.insert(Warehouse).values(**fields, **stamp).returning(Warehouse.id)
    ).scalar_one()
    connection.execute(
        sa.insert(Location).values(
            code=f"{fields['code']}-STORAGE", kind="storage", warehouse_id=warehouse_id, **stamp
        )
    )
    ensure_world(connection, actor)
    return int(warehouse_id)


def _kept(fields: dict[str, Any]) -> dict[str, Any]:
    region = fields["region"]
    return {**fields, "region": code_of(fields["country"], region) or region}


def put(connection: Connection, actor: Actor, code: str, wanted: WarehouseIn) -> dict[str, Any]:
    """Create the warehouse ``code`` or change it to this; return it.

    Raises:
        ValidationFailed: it is to stand in a country that there is not, or that has no such region.
        Conflict: its own places have names that are taken; or it is to be closed while something
            is in it, on its way to it or waited for there: each is named with its number.
    """
    actor.require(WAREHOUSES_WRITE)
    # Orders that name it as their home share its row: they come before, and are seen, or after.
    known = connection.execute(
        sa.select(Warehouse.id, Warehouse.is_active, Warehouse.country, Warehouse.region)
        .where(Warehouse.code == code)
        .with_for_update()
    ).one_or_none()
    # One that stands where no place is known any more can still be changed, and closed.
    if known is None or (wanted.country, wanted.region) != (known.country, known.region):
        _refuse_nowhere(wanted)
    if known is None:
        _refuse_taken(connection, code)
        with unique_again():
            create(connection, actor, code=code, **wanted.model_dump())
        return _shown(connection, "WHERE w.code = :code", {"code": code})[0]
    if known.is_active and not wanted.is_active:
        _refuse_in_use(connection, code, known.id)
    connection.execute(
        sa.update(Warehouse)
        .where(Warehouse.id == known.id)
        .values(
            **_kept(wanted.model_dump()),
            version=Warehouse.version + 1,
            changed_by=actor.name,
            changed_at=clock.now(),
        )
    )
    return _shown(connection, "WHERE w.code = :code", {"code": code})[0]


def _refuse_nowhere(wanted: WarehouseIn) -> None:
    if faults := place_faults(wanted.country, wanted.region):
        raise ValidationFailed("The warehouse has bad fields.", [FieldError(*f) for f in faults])


def _refuse_taken(connection: Connection, code: str) -> None:
    own = [f"{code}-STORAGE", f"{code}-QUARANTINE"]
    # Places of the warehouse itself are no harm: another has just created it, which creating tells.
    taken = connection.scalars(
        sa.select(Location.code)
        .outerjoin(Warehouse, Warehouse.id == Location.warehouse_id)
        .where(Location.code.in_(own), sa.func.coalesce(Warehouse.code, "") != code)
    ).all()
    if taken:
        message = f"a bin of another warehouse is called {', '.join(taken)}"
        raise Conflict(f"{code} cannot be created.", [FieldError("code", "taken", message)])


def listing(connection: Connection, actor: Actor) -> list[dict[str, Any]]:
    """Return every warehouse by its code, the closed ones too."""
    actor.require(STOCK_READ)
    return _shown(connection, "", {})


_COLUMNS = (
    "code", "name", "line1", "city", "region", "postal_code", "country", "latitude", "longitude",
    "rank", "is_active", "version",
)  # fmt: skip


def _shown(connection: Connection, chosen: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    named = ", ".join(f"w.{name}" for name in _COLUMNS)
    rows = connection.execute(
        sa.text(f"SELECT {named} FROM warehouses AS w {chosen} ORDER BY w.code"), parameters
    ).mappings()
    return [{**row, "is_active": bool(row["is_active"])} for row in rows]


#: What keeps a warehouse ``:id`` open: a code, a word for people, and how many there are.
_IN_USE = (
    ("has_stock", "units on hand",
     "SELECT sum(on_hand) FROM stock_levels WHERE warehouse_id = :id"),
    ("has_quarantine", "units in quarantine",
     "SELECT sum(c.quantity) FROM location_levels AS c JOIN locations AS p ON p.id = c.location_id"
     " WHERE p.warehouse_id = :id AND p.kind = 'quarantine'"),
    ("has_promises", "units promised to orders and baskets",
     "SELECT sum(allocated) FROM stock_levels WHERE warehouse_id = :id"),
    ("is_waited_for", "units of orders that wait there",
     "SELECT sum(l.backordered) FROM order_lines AS l JOIN orders AS o ON o.id = l.order_id"
     " WHERE o.warehouse_id = :id AND l.backordered > 0"),
    ("has_purchase_orders", "open purchase orders",
     "SELECT count(*) FROM purchase_orders WHERE warehouse_id = :id"
     " AND status IN ('draft', 'sent', 'confirmed', 'partly_received')"),
    ("has_transfers", "open transfers",
     "SELECT count(*) FROM transfers WHERE (from_warehouse_id = :id OR to_warehouse_id = :id)"
     " AND status IN ('draft', 'in_transit', 'partly_received')"),
)  # fmt: skip


def _refuse_in_use(connection: Connection, code: str, warehouse_id: int) -> None:
    faults = []
    for reason, words, statement in _IN_USE:
        count = int(execute(connection, statement, {"id": warehouse_id}).fetchone()[0] or 0)
        if count:
            faults.append(FieldError("is_active", reason, f"{count} {words}"))
    if faults:
        raise Conflict(f"{code} cannot be closed yet.", faults)
