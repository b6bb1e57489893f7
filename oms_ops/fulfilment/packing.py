"""Pack picked goods into parcels, with a check: what is in the parcels is what is to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from oms_ops.access.actor import FULFIL, Actor
from oms_ops.database import as_json, as_rows, execute, rowset
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment.transitions import advance
from oms_ops.rules import store
from oms_ops.stock.levels import stamp_of
from oms_ops.stock.names import MOST_UNITS

#: Grams of a parcel, at most: more is a slip of the finger.
MOST_GRAMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Packed:
    """A parcel: units by SKU code or barcode, as they were scanned, and its weight if known."""

    contents: Mapping[str, int]
    weight_grams: int | None = None


def pack(
    connection: Connection, actor: Actor, shipment_ids: Sequence[int], *, history: bool = False
) -> None:
    """Record that shipments are in parcels, without saying what is in which.

    ``history`` is for loading it: nobody can look into those parcels any more.

    Raises:
        ValidationFailed: the shop's rules want to know what is in the parcels.
        Conflict: a shipment or its order is not in a status for it; each is named.
    """
    actor.require(FULFIL)
    if not history and store.current(connection).rules.packing.check == "required":
        fault = FieldError("parcels", "required", "the shop's rules ask what is in each parcel")
        raise ValidationFailed("What is packed has to be checked.", [fault])
    advance(connection, actor, shipment_ids, "pack")


def pack_checked(
    connection: Connection, actor: Actor, shipment_id: int, parcels: Sequence[Packed]
) -> None:
    """Record the parcels of a shipment; they hold what is to be sent, no more and no less.

    Raises:
        ValidationFailed: what is missing, too much or unknown is named, SKU by SKU.
        Conflict: the shipment or its order is not in a status for it.
    """
    actor.require(FULFIL)
    # First, so that nobody changes what is checked.
    advance(connection, actor, [shipment_id], "pack")
    faults = _shape_faults(parcels)
    wanted = _wanted(connection, shipment_id)
    codes = _codes(connection, {code for parcel in parcels for code in parcel.contents})
    contents = []
    packed: Counter[str] = Counter()
    for index, parcel in enumerate(parcels):
        held: Counter[str] = Counter()
        for scanned, units in parcel.contents.items():
            if sku := codes.get(scanned.strip()):
                held[sku] += units
            else:
                message = f"{scanned} is no SKU code or barcode"
                field = f"parcels[{index}].contents.{scanned}"
                faults.append(FieldError(field, "unknown_sku", message))
        contents.append({sku: units for sku, units in sorted(held.items()) if units > 0})
        packed += held
    faults += _differences(wanted, packed)
    if faults:
        raise ValidationFailed("The parcels do not hold what is to be sent.", faults)
    _insert(connection, actor, shipment_id, parcels, contents)


def _shape_faults(parcels: Sequence[Packed]) -> list[FieldError]:
    faults = []
    if not parcels:
        faults.append(FieldError("parcels", "required", "at least one"))
    for index, parcel in enumerate(parcels):
        where = f"parcels[{index}]"
        if not parcel.contents:
            faults.append(FieldError(f"{where}.contents", "required", "a parcel holds something"))
        for code, units in parcel.contents.items():
            if not 1 <= units <= MOST_UNITS:
                message = f"between 1 and {MOST_UNITS}"
                faults.append(FieldError(f"{where}.contents.{code}", "out_of_range", message))
        if parcel.weight_grams is not None and not 1 <= parcel.weight_grams <= MOST_GRAMS:
            message = f"between 1 and {MOST_GRAMS}"
            faults.append(FieldError(f"{where}.weight_grams", "out_of_range", message))
    return faults


def _differences(wanted: Mapping[str, int], packed: Mapping[str, int]) -> list[FieldError]:
    faults = []
    for sku in sorted({*wanted, *packed}):
        to_send, found = wanted.get(sku, 0), packed.get(sku, 0)
        if found < to_send:
            message = f"{to_send - found} of {to_send} missing"
            faults.append(FieldError(f"contents.{sku}", "missing", message))
        elif found > to_send:
            message = f"{found} packed, {to_send} to send" if to_send else "not in this shipment"
            faults.append(FieldError(f"contents.{sku}", "too_many", message))
    return faults


def _wanted(connection: Connection, shipment_id: int) -> dict[str, int]:
    rows = execute(
        connection,
        "SELECT k.code, CAST(sum(x.quantity) AS bigint) FROM shipment_lines AS x"
        " JOIN skus AS k ON k.id = x.sku_id WHERE x.shipment_id = :id GROUP BY k.code",
        {"id": shipment_id},
    )
    return {row[0]: row[1] for row in rows}


def _codes(connection: Connection, scanned: set[str]) -> dict[str, str]:
    """Return the SKU that each scanned text stands for: its code before a barcode."""
    source = f"({rowset(connection, 'rows', {'code': 'text'})}) AS r"
    rows = execute(
        connection,
        f"SELECT r.code, k.code FROM {source} JOIN skus AS k ON k.barcode = r.code"
        f" UNION ALL SELECT r.code, k.code FROM {source} JOIN skus AS k ON k.code = r.code",
        {"rows": as_rows({"code": code.strip()} for code in sorted(scanned))},
    ).fetchall()
    # A code that is another SKU's barcode stands for itself.
    return {row[0]: row[1] for row in rows} | {row[0]: row[0] for row in rows if row[0] == row[1]}


def _insert(
    connection: Connection,
    actor: Actor,
    shipment_id: int,
    parcels: Sequence[Packed],
    contents: Sequence[Mapping[str, int]],
) -> None:
    stored = "contents" if connection.dialect.name == "sqlite" else "CAST(contents AS json)"
    columns = {"parcel_no": "bigint", "weight_grams": "bigint", "contents": "text"}
    rows = as_rows(
        {
            "parcel_no": number,
            "weight_grams": parcel.weight_grams,
            "contents": as_json(dict(held)),
        }
        for number, (parcel, held) in enumerate(zip(parcels, contents, strict=True), 1)
    )
    execute(
        connection,
        "INSERT INTO parcels (shipment_id, parcel_no, weight_grams, contents, version, changed_by,"
        f" changed_at) SELECT :shipment, parcel_no, weight_grams, {stored}, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r",
        {"shipment": shipment_id, "rows": rows, **stamp_of(connection, actor)},
    )
