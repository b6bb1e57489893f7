"""What the model thinks of a sale: captures, amendments, cancellations, payments, returns.

A command raises ``Refused`` before it changes anything, or says what is true afterwards. Where the
shop is free to choose (from which warehouses an order ships), ``act`` lets it act, the command
checks that the choice was a good one, and takes it over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from oms_ops.errors import Conflict, OutOfStock, ValidationFailed
from tests.oms_ops.machine.model import (
    WAREHOUSES,
    Line,
    Model,
    Order,
    Payment,
    refuse,
)
from tests.oms_ops.machine.money import PERCENT_CODE, USES, Wanted, line_of, priced, taxed
from tests.oms_ops.machine.seen import Pair, Seen

Act = Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class Submission:
    """An order as it is submitted."""

    lines: tuple[Wanted, ...]
    region: str = "GA"
    code: str | None = None
    included: bool = False
    backorder: bool = False
    split: bool = False
    complete: bool = False
    pays: bool = True
    warehouse: str | None = None
    basket: str | None = None


def capture(model: Model, act: Act, wanted: Submission) -> None:
    refuse(wanted.code == PERCENT_CODE and model.used[PERCENT_CODE] >= USES, ValidationFailed)
    money, shipping, shipping_tax = priced(
        wanted.lines, wanted.region, wanted.code, included=wanted.included
    )
    lines = [
        Line(no, each.sku, amounts)
        for no, (each, amounts) in enumerate(zip(wanted.lines, money, strict=True), 1)
    ]
    free = _free(model, wanted.basket)
    sites = (wanted.warehouse,) if wanted.warehouse else WAREHOUSES
    short = _short(lines, free, sites, split=wanted.split)
    refuse(short and not wanted.backorder, OutOfStock)
    seen = act()
    (order_id,) = seen.heads.keys() - model.orders.keys()
    order = Order(
        order_id, len(model.orders), wanted.region, seen.heads[order_id]["home"], wanted.included,
        shipping, shipping_tax, wanted.backorder, wanted.split, wanted.complete, wanted.code,
        lines={line.no: line for line in lines},
    )  # fmt: skip
    for key in [key for key in model.baskets if key[0] == wanted.basket]:
        del model.baskets[key]
    model.orders[order_id] = order
    _adopt(order, [(line, line.money.quantity) for line in lines], seen, free)
    assert sum(line.backordered for line in lines) == short
    used = {parcel.warehouse for parcel in order.parcels}
    assert used <= ({order.home} if not wanted.split else set(sites))
    if not _short(lines, free, sites, split=False):
        assert used == {order.home}, "one warehouse would have been enough"
    if wanted.pays and order.total:
        order.payments.append(Payment(order.total))
    if wanted.code:
        model.used[wanted.code] += 1


def _free(model: Model, basket: str | None = None) -> dict[Pair, int]:
    free = {(w, s): model.free(w, s) for w in WAREHOUSES for s in _skus(model)}
    for (name, warehouse, sku), units in model.baskets.items():
        if name == basket:
            free[warehouse, sku] += units
    return free


def _skus(model: Model) -> set[str]:
    return {sku for _, sku in model.units} | {"SKU-1", "SKU-2", "SKU-3"}


def _short(
    lines: Iterable[Line], free: dict[Pair, int], sites: Sequence[str], *, split: bool
) -> int:
    """Return how many units the best warehouse lacks, or all of them together."""
    want: Counter[str] = Counter()
    for line in lines:
        want[line.sku] += line.money.quantity
    plans = [(site,) for site in sites] + ([tuple(sites)] if split else [])
    return min(
        sum(max(0, n - sum(free[site, sku] for site in plan)) for sku, n in want.items())
        for plan in plans
    )


def _adopt(
    order: Order, wanted: Sequence[tuple[Line, int]], seen: Seen, free: dict[Pair, int]
) -> None:
    """Take over whence the wanted units of lines come; of a SKU, the first line was served first.

    What is not in a shipment waits.
    """
    before = {p.id: p.units() for p in order.parcels}
    picked = {p.id for p in order.parcels if p.status != "allocated"}
    boxes = [box for box in seen.boxes.get(order.id, []) if box.id not in picked]
    taken: Counter[Pair] = Counter()
    got: dict[str, list[tuple[int, int]]] = {}
    for line, units in wanted:
        found = 0
        for box in boxes:
            part = box.units().get(line.no, 0) - before.get(box.id, {}).get(line.no, 0)
            if part:
                order.put(box.warehouse, line, part)
                taken[box.warehouse, line.sku] += part
                found += part
        line.backordered += units - found
        got.setdefault(line.sku, []).append((units, found))
    assert all(units <= free[pair] for pair, units in taken.items()), (taken, free)
    for shares in got.values():
        pool = sum(found for _, found in shares)
        for units, found in shares:
            assert found == min(units, pool), shares
            pool -= found


def cancel(model: Model, act: Act, order: Order) -> None:
    refuse(not order.is_live or order.is_picked, Conflict)
    freed: Counter[Pair] = Counter()
    for parcel in order.unpicked:
        parcel.status = "cancelled"
        for no, units in parcel.units().items():
            freed[parcel.warehouse, order.lines[no].sku] += units
    for line in order.lines.values():
        line.cancelled, line.allocated, line.backordered = line.money.quantity, 0, 0
    for payment in order.payments:
        payment.voided += payment.open
        payment.given_back += payment.refundable
        payment.refunded = payment.captured
    model.conclude(order)
    model.fill(freed)


def cancel_units(model: Model, act: Act, order: Order, no: int, units: int) -> None:
    line = order.lines[no]
    refuse(not order.is_live or units > line.backordered + order.unpicked_of(line), Conflict)
    freed = model.cancel_units(order, line, units)
    model.conclude(order)
    model.settle(order)
    model.fill(freed)


@dataclass(frozen=True, slots=True)
class Change:
    """A line (by number, or a new one by SKU) and how many units of it there are to be."""

    no: int | None
    sku: str
    units: int


def amend(model: Model, act: Act, order: Order, changes: Sequence[Change], *, pays: bool) -> None:
    refuse(not order.is_live, Conflict)
    for change in changes:
        if change.no is not None:
            line = order.lines[change.no]
            refuse(line.kept - change.units > line.backordered + order.unpicked_of(line), Conflict)
    fewer: Counter[Pair] = Counter()
    for change in changes:
        if change.no is not None and change.units < order.lines[change.no].kept:
            line = order.lines[change.no]
            fewer += model.cancel_units(order, line, line.kept - change.units)
    model.fill(fewer)
    longer = _longer(order, changes)
    if longer:
        _add(model, act, order, longer)
    model.conclude(order)
    model.settle(order)
    held = sum(p.captured - p.given_back + p.open for p in order.payments)
    if pays and order.owed > held:
        order.payments.append(Payment(order.owed - held))


def _longer(order: Order, changes: Sequence[Change]) -> list[tuple[Line, int]]:
    """Return the lines that get more units, new ones among them, with the units.

    A line of which units came back gets no longer: a new one has its price.
    """
    longer = []
    number = max(order.lines)
    for change in changes:
        own = None if change.no is None else order.lines[change.no]
        more = change.units - (own.kept if own else 0)
        if own is not None and not own.returned and more > 0:
            longer.append((own, more))
        elif more > 0:
            number += 1
            money = line_of(Wanted(change.sku, 0), order.region)
            money.unit = own.money.unit if own else money.unit
            longer.append((Line(number, change.sku, money), more))
    return longer


def _add(model: Model, act: Act, order: Order, longer: Sequence[tuple[Line, int]]) -> None:
    free = _free(model)
    probe = []
    for line, units in longer:
        money = line_of(Wanted(line.sku, units), order.region)
        money.unit = line.money.unit
        probe.append(Line(line.no, line.sku, money))
    sites = WAREHOUSES if order.split else (order.home,)
    short = _short(probe, free, sites, split=order.split)
    refuse(short and not order.backorder, OutOfStock)
    seen = act()
    taxed([line.money for line in probe], included=order.included)
    waited = sum(line.backordered for line, _ in longer)
    for (line, units), more in zip(longer, probe, strict=True):
        line.money.quantity += units
        line.money.tax += more.money.tax
        order.lines[line.no] = line
    _adopt(order, longer, seen, free)
    assert sum(line.backordered for line, _ in longer) == waited + short
    assert order.split or {p.warehouse for p in order.unpicked if p.id is None} <= {order.home}


def hold(model: Model, act: Act, order: Order) -> None:
    refuse(order.status != "open", Conflict)
    order.status = "on_hold"


def release(model: Model, act: Act, order: Order) -> None:
    refuse(order.status != "on_hold", Conflict)
    order.status = "open"
    sites = WAREHOUSES if order.split else (order.home,)
    model.fill((w, li.sku) for li in order.lines.values() if li.backordered for w in sites)


def pay(model: Model, act: Act, order: Order, payment: Payment) -> None:
    refuse(payment.captured or payment.voided >= payment.amount, Conflict)
    payment.captured = payment.amount - payment.voided


def void(model: Model, act: Act, order: Order, payment: Payment) -> None:
    refuse(payment.captured or payment.voided >= payment.amount, Conflict)
    payment.voided = payment.amount


def refund(model: Model, act: Act, order: Order, payment: Payment, cents: int) -> None:
    refuse(cents > payment.refundable, Conflict)
    payment.refunded += cents


def tender(model: Model, act: Act, order: Order) -> None:
    """Expect what no payment covers."""
    held = sum(p.captured - p.given_back + p.open for p in order.payments)
    refuse(order.status == "cancelled" or order.owed <= held, Conflict)
    order.payments.append(Payment(order.owed - held))


def send_back(model: Model, act: Act, order: Order, no: int, units: int, *, scrap: bool) -> None:
    line = order.lines[no]
    refuse(units > line.shipped - line.returned, Conflict)
    due = line.money.owed(line.returned + units, included=order.included)
    due -= line.money.owed(line.returned, included=order.included)
    for payment in sorted(order.payments, key=lambda p: (-p.refundable, p.id)):
        part = min(due, payment.refundable)
        payment.refunded += part
        due -= part
    line.returned += units
    # What was not paid need not be paid any more; of what is expected, the newest goes first.
    collected = sum(p.captured - p.given_back for p in order.payments)
    unpaid = min(due, max(0, order.owed - collected))
    order.forgiven += unpaid
    too_much = sum(p.open for p in order.payments) - max(0, order.owed - collected)
    for payment in reversed(order.payments) if unpaid else []:
        part = max(0, min(too_much, payment.open))
        payment.voided += part
        too_much -= part
    floor = f"{order.home}-STORAGE"
    model.move("CUSTOMER", floor, line.sku, units)
    if scrap:
        model.move(floor, "SCRAP", line.sku, units)
    model.fill([(order.home, line.sku)])
