"""Units that are added to a captured order: priced and taxed as today's, routed, allocated.

Units of a line that cost what the line's do make it longer; others are a line of their own, so that
a line has one price.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

from sqlalchemy.engine import Connection

from oms_ops.access.actor import PRICES_OVERRIDE, Actor
from oms_ops.database import Retry, as_rows, execute, rowset
from oms_ops.errors import Conflict, FieldError, OutOfStock, ValidationFailed
from oms_ops.money import to_text
from oms_ops.orders import overrides, pricing, promises, shipments, writing
from oms_ops.orders.amendment_shape import LineIn as Wanted
from oms_ops.orders.capture import out_of_stock, route_order
from oms_ops.orders.intake import AddressIn, CustomerIn, LineIn, OrderIn
from oms_ops.orders.look import Seen
from oms_ops.orders.pricing import Priced, PricedLine, price, quantity_errors
from oms_ops.orders.routing import Routing
from oms_ops.orders.submission import relabelled
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Quantity

#: Units of one line, at most.
_MOST_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Amended:
    """A line of the amendment: the order is to have ``units`` of it, ``added`` more than now.

    ``index`` is its place in the amendment, ``line`` the order's line, None for a new one.
    """

    index: int
    line: Mapping[str, Any] | None
    sku: str
    units: int
    added: int
    unit_price: Decimal | None = None
    discount: Decimal = Decimal(0)


def amended(
    wanted: Iterable[tuple[int, Wanted]], lines: Sequence[Mapping[str, Any]]
) -> tuple[list[Amended], list[Mapping[str, Any]]]:
    """Return the ``wanted`` lines of an amendment, by their places, and those left alone.

    The order has all the lines that they name.
    """
    known = {line["line_no"]: line for line in lines}
    chosen = []
    for index, each in wanted:
        line = None if each.line_no is None else known.pop(each.line_no)
        chosen.append(
            Amended(
                index=index,
                line=line,
                sku=line["sku"] if line else cast(str, each.sku),
                units=each.quantity,
                added=each.quantity - (_left(line) if line else 0),
                unit_price=each.unit_price,
                discount=each.discount or Decimal(0),
            )
        )
    return chosen, list(known.values())


def submission(
    head: Mapping[str, Any], lines: Sequence[LineIn], warehouse: str | None = None
) -> OrderIn:
    """Return lines as if they were submitted now with the terms of the order ``head``."""
    place = {name: head[f"ship_{name}"] for name in AddressIn.model_fields}
    return OrderIn.model_construct(
        channel=head["channel"],
        currency=head["currency"],
        customer=CustomerIn.model_construct(email=head["email"], name=head["ship_name"]),
        ship_to=AddressIn.model_construct(**place),
        lines=list(lines),
        shipping=Decimal(0),
        tax_included=bool(head["tax_included"]),
        allow_backorder=bool(head["allow_backorder"]),
        allow_split=bool(head["allow_split"]),
        warehouse=warehouse,
    )


def priced(
    actor: Actor,
    head: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    amended: Sequence[Amended],
    seen: Seen,
) -> Priced:
    """Price the added units of ``amended``, in its order; ``others`` are the lines left alone.

    Quantity breaks and limits are those of all the units that the order then has. The catalogue
    knows and sells all the SKUs.

    Raises:
        ValidationFailed: with every bad field of the amendment's lines.
        Forbidden: a line states a price that the actor may not state.
    """
    kept = [each for each in amended if each.units]
    added = [each for each in amended if each.added > 0]
    indexes = [each.index for each in kept]
    currency = head["currency"]
    whole = _whole(head, others, kept)
    errors = relabel(_limits(whole, kept, seen), indexes)
    rules = seen.rules.rules
    found, faults = price(whole, seen.known, rules, (), seen.customer_group)
    errors += relabel(faults, indexes)
    if found is None or errors:
        raise ValidationFailed("The amendment has bad fields.", errors)
    if not actor.permits(PRICES_OVERRIDE):
        _refuse_overrides(actor, kept, whole, found, seen)
    prices = {each.index: line for each, line in zip(kept, found.lines, strict=False)}
    if not added:
        return replace(found, lines=[])
    more = submission(
        head,
        [
            _line(
                each.sku,
                each.added,
                Decimal(to_text(prices[each.index].unit_price_minor, currency)),
                each.discount,
            )
            for each in added
        ],
    )
    result, faults = price(more, seen.known, rules, (), seen.customer_group)
    if result is None:
        errors = relabel(faults, [each.index for each in added])
        raise ValidationFailed("The amendment has bad fields.", errors)
    sourced = [
        line._replace(price_source=prices[each.index].price_source)
        for each, line in zip(added, result.lines, strict=True)
    ]
    return replace(result, lines=sourced)


def objections(
    head: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    amended: Sequence[Amended],
    seen: Seen,
    marred: Collection[int],
) -> list[FieldError]:
    """Return what limits and prices object to where an amendment cannot be priced as a whole.

    The prices of ``marred`` lines, by their places in the amendment, cannot be told.
    """
    kept = [each for each in amended if each.units]
    whole = _whole(head, others, kept)
    priceable = set(range(len(whole.lines)))
    priceable -= {place for place, each in enumerate(kept) if each.index in marred}
    faults = _limits(whole, kept, seen)
    faults += pricing.objections(
        whole, seen.known, seen.rules.rules, (), seen.customer_group, priceable
    )
    return relabel(faults, [each.index for each in kept])


def _whole(
    head: Mapping[str, Any], others: Sequence[Mapping[str, Any]], kept: Sequence[Amended]
) -> OrderIn:
    """Return the order as it is to be: lines that are amended and stay, then those left alone."""
    currency = head["currency"]
    return submission(
        head,
        [_line(each.sku, each.units, _stated(each, currency), each.discount) for each in kept]
        + [_line(li["sku"], _left(li), _price(li, currency)) for li in others if _left(li)],
    )


def _limits(whole: OrderIn, kept: Sequence[Amended], seen: Seen) -> list[FieldError]:
    """Return what the SKUs' limits object to in the ``whole`` order, whose first lines are kept."""
    added = [each.added for each in kept]
    added += [0] * (len(whole.lines) - len(kept))
    return quantity_errors(whole, seen.known, added)


def _refuse_overrides(
    actor: Actor, kept: Sequence[Amended], whole: OrderIn, found: Priced, seen: Seen
) -> None:
    """Refuse other prices of new lines than the shop's, and discounts of them."""
    stated = overrides.overridden(
        whole, found, seen.known, seen.rules.rules, (), seen.customer_group
    )
    named = {fault.field: fault for fault in stated}
    faults = []
    for index, each in enumerate(kept):
        if each.line is None and (fault := named.get(f"lines[{index}].unit_price")):
            faults.append(replace(fault, field=f"lines[{each.index}].unit_price"))
        if each.discount:
            field = f"lines[{each.index}].discount"
            faults.append(FieldError(field, overrides.CODE, f"only with {PRICES_OVERRIDE}"))
    if faults:
        raise overrides.refusal(actor, faults)


def _line(
    sku: str, units: int, unit_price: Decimal | None, discount: Decimal = Decimal(0)
) -> LineIn:
    return LineIn.model_construct(sku=sku, quantity=units, unit_price=unit_price, discount=discount)


def _left(line: Mapping[str, Any]) -> int:
    return int(line["quantity"] - line["cancelled"])


def _price(line: Mapping[str, Any], currency: str) -> Decimal:
    return Decimal(to_text(line["unit_price_minor"], currency))


def _stated(each: Amended, currency: str) -> Decimal | None:
    """Return the price that holds whatever the lists say: the caller's, now or at capture."""
    if each.line is not None and (each.added <= 0 or each.line["price_source"] == "caller"):
        return _price(each.line, currency)
    return each.unit_price


def relabel(errors: Sequence[FieldError], indexes: Sequence[int]) -> list[FieldError]:
    """Return the errors of lines with the amendment's numbers ``indexes``; others are old."""
    return relabelled(errors, {"lines": list(indexes)})


def add(
    connection: Connection,
    actor: Actor,
    head: Mapping[str, Any],
    amended: Sequence[Amended],
    found: Priced,
    seen: Seen,
    stamp: dict[str, Any],
) -> None:
    """Write what ``amended`` adds, priced as ``found``, with its allocation or as waiting.

    An order that may not be split is filled from its home warehouse alone; what is short waits
    there. The order is locked, its totals are to be refreshed.

    Raises:
        OutOfStock: a line cannot be filled and the order allows no backorder.
        Conflict: the home warehouse of an order that may not be split is closed.
    """
    added = [each for each in amended if each.added > 0]
    if not added:
        return
    home = None if head["allow_split"] else head["warehouse"]
    if home is not None and home not in {site.code for site in seen.sites}:
        raise Conflict(f"{home} ships no more, and the order may not be split.")
    lines = found.lines
    routing = route_order(submission(head, [], home), found, seen)
    keep = seen.rules.rules.reserve_of(head["channel"])
    if any(routing.backordered) and not head["allow_backorder"]:
        refusal = out_of_stock(lines, routing, keep)
        indexes = [each.index for each in added]
        raise OutOfStock(refusal.message, relabel(refusal.errors, indexes))
    line_ids = _write(connection, head, added, lines, routing, stamp)
    takes = [
        {
            "order_id": head["id"],
            "warehouse_id": warehouse_id,
            "order_line_id": line_ids[index],
            "sku_id": lines[index].sku.id,
            "take": units,
        }
        for warehouse_id, index, units in routing.allocations
    ]
    if takes:
        shipments.add(connection, takes, stamp)
    wanted = [Quantity(t["warehouse_id"], t["sku_id"], t["take"]) for t in takes]
    if not ledger.allocate(connection, actor, wanted, keep=keep):
        raise Retry("stock moved between the plan and the claim")
    waiting = {
        (head["warehouse_id"], line.sku.id)
        for line, short in zip(lines, routing.backordered, strict=True)
        if short
    }
    promises.update(connection, actor, waiting)


def _write(
    connection: Connection,
    head: Mapping[str, Any],
    added: Sequence[Amended],
    lines: Sequence[PricedLine],
    routing: Routing,
    stamp: dict[str, Any],
) -> list[int]:
    """Lengthen lines and insert new ones; return the order line's id of each of ``lines``."""
    line_ids: dict[int, int] = {}
    longer, new = [], []
    number = head["last_line_no"]
    for position, (each, line) in enumerate(zip(added, lines, strict=True)):
        short = routing.backordered[position]
        row = {"allocated": line.quantity - short, "backordered": short}
        if each.line is not None and _same_terms(each.line, line):
            longer.append({**_amounts(line), **row, "id": each.line["id"]})
            line_ids[position] = each.line["id"]
        else:
            number += 1
            new.append((position, {**_amounts(line), **row, "line_no": number}))
    _lengthen(connection, longer, stamp)
    stored = _insert(connection, head["id"], [row for _, row in new], stamp)
    line_ids |= {position: stored[row["line_no"]] for position, row in new}
    return [line_ids[position] for position in range(len(lines))]


def _same_terms(line: Mapping[str, Any], added: PricedLine) -> bool:
    return (
        line["unit_price_minor"] == added.unit_price_minor
        and line["tax_rate_ppm"] == added.tax_rate_ppm
        and not added.discount_minor
        # The refunds of its units are shares of its price: it must not change under them.
        and not line["returned"]
        and line["quantity"] + added.quantity <= _MOST_UNITS
    )


def _amounts(line: PricedLine) -> dict[str, Any]:
    return {
        "sku_id": line.sku.id,
        "quantity": line.quantity,
        "unit_price_minor": line.unit_price_minor,
        "price_source": line.price_source,
        "unit_cost_minor": line.sku.unit_cost_minor,
        "gross_minor": line.gross_minor,
        "discount_minor": line.discount_minor,
        "rounding_minor": line.rounding_minor,
        "net_minor": line.net_minor,
        "tax_rate_ppm": line.tax_rate_ppm,
        "tax_minor": line.tax_minor,
        "promised_on": None,
    }


def _lengthen(
    connection: Connection, rows: Sequence[dict[str, Any]], stamp: dict[str, Any]
) -> None:
    sums = ("quantity", "gross_minor", "net_minor", "tax_minor", "allocated", "backordered")
    columns = dict.fromkeys(("id", *sums), "bigint")
    changes = ", ".join(f"{name} = l.{name} + r.{name}" for name in sums)
    if rows:
        execute(
            connection,
            f"UPDATE order_lines AS l SET {changes}, version = l.version + 1,"
            " changed_by = :actor, changed_at = :now"
            f" FROM ({rowset(connection, 'rows', columns)}) AS r WHERE l.id = r.id",
            {**stamp, "rows": as_rows({name: row[name] for name in columns} for row in rows)},
        )


def _insert(
    connection: Connection, order_id: int, rows: Sequence[dict[str, Any]], stamp: dict[str, Any]
) -> dict[int, int]:
    """Insert lines; return their ids by line number."""
    if not rows:
        return {}
    names = ", ".join(writing.LINE)
    stored = execute(
        connection,
        f"INSERT INTO order_lines (order_id, {names}, shipped, cancelled, returned, version,"
        " changed_by, changed_at)"
        f" SELECT :order_id, {names}, 0, 0, 0, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', writing.LINE)}) AS r RETURNING line_no, id",
        {**stamp, "order_id": order_id, "rows": as_rows(rows)},
    )
    return {row[0]: row[1] for row in stored.fetchall()}
