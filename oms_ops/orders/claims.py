"""What is to go back of an order, and what went back for it: its claims.

A claim is the order's surplus (what was collected for good beyond its cost), or what one of its
returns gives back. Refunds meet claims, wherever they were made. A refund that failed is only an
attempt at a claim: what is left of the claim is shared out among its attempts, first those whose
payments have as much to give back, then the newest.

What a refund made at the gateway is for follows from what is known of the order, and is decided
anew with all news of it; so the order in which news are heard makes no difference. Only what had
gone back before a person cancels units or resolves a return is not for that: it was good will, but
for as much of it as may turn out to be for what a gateway has not answered by then. What is left
open for that reason notes where it stood, and is for no claim that came later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.orders.amounts import owed_by_order_sql
from oms_ops.payments.operations import REFUNDABLE
from oms_ops.payments.refunds import MADE_THERE

#: Codes of failed operations that nobody is to look at any more.
_PUT_ASIDE = "('dismissed', 'retried')"


def _less(one: str, other: str) -> str:
    return f"CASE WHEN {one} < {other} THEN {one} ELSE {other} END"


def claims_sql(chosen: str) -> str:
    """Return SQL that begins with WITH, over the orders ``chosen`` (a query of their ids).

    ``claims`` has ``order_id``, ``return_id`` (0 for the surplus), and what is left of each:
    ``due`` now, and ``won`` if what was charged back comes back. No more is left than was collected
    and did not go back otherwise. ``attempts`` has the failed refunds that stand for what is left:
    ``operation``, ``amount``, and of both the part that is theirs. What a person gave back of her
    own will is no claim: she knows whether it is still wanted.
    """
    these = "IN (SELECT id FROM chosen)"
    return (
        f"WITH chosen AS ({chosen}), held AS (SELECT p.order_id,"
        "  CAST(sum(p.captured_minor) AS bigint) AS captured,"
        "  CAST(sum(p.charged_back_minor) AS bigint) AS charged_back,"
        "  CAST(sum(p.captured_minor - p.refunded_minor - p.credited_minor) AS bigint) AS kept"
        f" FROM payments AS p WHERE p.order_id {these} GROUP BY p.order_id"
        "), back AS (SELECT order_id, CAST(sum(amount_minor) AS bigint) AS given,"
        "  CAST(sum(CASE WHEN status = 'pending' THEN amount_minor ELSE 0 END) AS bigint) AS going"
        f" FROM refunds WHERE lowers_cost AND status <> 'failed' AND order_id {these}"
        "  GROUP BY order_id"
        "), surplus AS (SELECT h.order_id, h.charged_back, h.kept - coalesce(b.going, 0) AS room,"
        f"  h.captured - coalesce(b.given, 0) - {owed_by_order_sql(these)} AS beyond"
        "  FROM held AS h JOIN orders AS o ON o.id = h.order_id"
        "  LEFT JOIN back AS b ON b.order_id = h.order_id"
        f"), rest AS (SELECT order_id, 0 AS return_id, {_less('beyond', 'room')} AS won,"
        f"  {_less('beyond', 'room')} - charged_back AS due FROM surplus"
        " UNION ALL SELECT t.order_id, t.id, t.refund_minor - coalesce(f.given, 0),"
        "  t.refund_minor - coalesce(f.given, 0) FROM returns AS t LEFT JOIN ("
        "   SELECT return_id, CAST(sum(amount_minor) AS bigint) AS given FROM refunds"
        f"   WHERE return_id IS NOT NULL AND status <> 'failed' AND order_id {these}"
        "   GROUP BY return_id) AS f ON f.return_id = t.id"
        f"  WHERE t.order_id {these} AND t.status IN ('refunding', 'refund_failed')"
        "), claims AS (SELECT order_id, return_id, CASE WHEN won > 0 THEN won ELSE 0 END AS won,"
        "  CASE WHEN due > 0 THEN due ELSE 0 END AS due FROM rest"
        "), failed AS (SELECT x.id AS operation, x.amount_minor AS amount, f.order_id,"
        "  CASE WHEN f.lowers_cost THEN 0 ELSE f.return_id END AS return_id,"
        "  coalesce(CAST(sum(x.amount_minor) OVER (PARTITION BY f.order_id,"
        "   CASE WHEN f.lowers_cost THEN 0 ELSE f.return_id END"
        f"  ORDER BY CASE WHEN {REFUNDABLE} + p.charged_back_minor < x.amount_minor"
        "   THEN 1 ELSE 0 END, x.id DESC"
        "   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bigint), 0) AS before"
        "  FROM payment_operations AS x JOIN payments AS p ON p.id = x.payment_id"
        "  JOIN refunds AS f ON f.id = x.refund_id"
        f"  AND f.status = 'failed' AND f.order_id {these} WHERE x.kind = 'refund'"
        f"  AND x.status = 'failed' AND coalesce(x.code, '') NOT IN {_PUT_ASIDE}"
        "), left_to AS (SELECT f.*, CASE WHEN f.return_id IS NULL THEN f.amount"
        "   ELSE coalesce(c.due, 0) - f.before END AS due,"
        "  CASE WHEN f.return_id IS NULL THEN f.amount"
        "   ELSE coalesce(c.won, 0) - f.before END AS won"
        "  FROM failed AS f LEFT JOIN claims AS c ON c.order_id = f.order_id"
        "  AND c.return_id = f.return_id"
        "), attempts AS (SELECT operation, order_id, return_id, amount,"
        f"  CASE WHEN due < 0 THEN 0 ELSE {_less('due', 'amount')} END AS due,"
        f"  CASE WHEN won < 0 THEN 0 ELSE {_less('won', 'amount')} END AS won FROM left_to)"
    )


#: The id of one order, as the orders that :func:`claims_sql` is over.
_ONE = "SELECT id FROM orders WHERE id = :id"


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of an order's claims, in minor units.

    ``surplus`` is due now; ``won`` is that and what was charged back: it may come back, and would
    then be to go back once more. ``returns`` has what is left of each return.
    """

    surplus: int
    won: int
    returns: dict[int, int]


def left(connection: Connection, order_id: int) -> Left:
    """Return what is left of an order's claims."""
    rows = execute(
        connection,
        f"{claims_sql(_ONE)} SELECT return_id, due, won FROM claims WHERE won > 0"
        " ORDER BY return_id",
        {"id": order_id},
    ).fetchall()
    returns = {int(return_id): int(won) for return_id, _, won in rows if return_id}
    due, won = next(((int(due), int(won)) for each, due, won in rows if not each), (0, 0))
    return Left(due, won, returns)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed refund and what it stands for: ``due`` now, ``won`` after a charge back is won.

    ``is_claim`` is false of what a person gave back of her own will.
    """

    is_claim: bool
    due: int
    won: int


def attempt(connection: Connection, order_id: int, operation_id: int) -> Attempt:
    """Return what a failed operation, a refund that nobody put aside, stands for."""
    row = execute(
        connection,
        f"{claims_sql(_ONE)} SELECT return_id, due, won FROM attempts WHERE operation = :operation",
        {"id": order_id, "operation": operation_id},
    ).fetchone()
    return Attempt(True, 0, 0) if row is None else Attempt(row[0] is not None, row[1], row[2])


#: What a part of a refund made at the gateway is for: the surplus, a return (its id), good will,
#: or nothing yet; or it is the same money as another refund, and was counted before it was known.
_Use: TypeAlias = int | Literal["surplus", "goodwill", "counted_before"] | None


class _Horizon(NamedTuple):
    """The newest refund and payment of an order when a person acted, and what it cost then."""

    refund_id: int
    payment_id: int
    owed: int


@dataclass(slots=True)
class _There:
    """A refund that was made at the gateway, and the parts of its amount by what they are for.

    ``is_ours``: it is named as something that the gateway was asked for. ``horizon`` is the newest
    refund there was when a person first acted after it was known, and what the order cost then.
    """

    id: int
    payment_id: int
    was: _Use
    parts: dict[_Use, int]
    is_ours: bool = False
    horizon: _Horizon | None = None

    @property
    def used(self) -> int:
        return sum(n for use, n in self.parts.items() if use not in (None, "counted_before"))

    def move(self, amount: int, old: _Use, new: _Use) -> None:
        rest = self.parts.pop(old) - amount
        if rest:
            self.parts[old] = rest
        self.parts[new] = self.parts.get(new, 0) + amount


@dataclass(slots=True)
class _Order:
    """The refunds of an order that were made at gateways, the oldest first.

    ``counted`` is how much of them its payments count as refunded, per payment: the rest gave back
    what was captured there beyond the payment, or has no room yet. ``twice`` is how much of them
    the gateway told of once, as of what it was asked for.
    """

    refunds: list[_There] = field(default_factory=list)
    counted: dict[int, int] = field(default_factory=dict)
    twice: dict[int, int] = field(default_factory=dict)

    def free(self) -> dict[int, int]:
        """Return per payment what is counted and not for anything yet."""
        free = dict(self.counted)
        for each in self.refunds:
            free[each.payment_id] -= each.used
        return free


def attribute(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> bool:
    """Decide what refunds made at gateways are for, from all that is known of orders; tell changes.

    The orders' rows are locked, and there are news of them.
    """
    found = _made_there(connection, order_ids)
    if not any(
        rest < 0
        or order.twice[payment_id] > 0
        or (rest > 0 and any(None in each.parts for each in order.refunds))
        for order in found.values()
        for payment_id, rest in order.free().items()
    ):
        return False
    rests = _rests(connection, list(found))
    for order_id, order in found.items():
        _attribute(order, rests.get(order_id, _Rests()))
    return _keep(connection, actor, found.values())


def _drop_counted_before(order: _Order, rests: _Rests) -> bool:
    """Take out what a person counted as made at the gateway, and was what the gateway was asked.

    The payment counts it once. Tell whether what it was for is open again.
    """
    reopened = False
    for each in order.refunds:
        for use in list(each.parts) if each.is_ours else ():
            if part := min(order.twice[each.payment_id], each.parts[use]):
                order.twice[each.payment_id] -= part
                each.move(part, use, "counted_before")
                reopened = rests.reopen(each, use, part) or reopened
    return reopened


def settle_good_will(connection: Connection, actor: Actor, order_ids: Sequence[int]) -> None:
    """Let refunds that were made at gateways and that no claim needed be good will for ever.

    For orders, whose rows are locked, of which more is to go back by what a person is going to do:
    before it is done. As much of them as a claim may yet need, when a gateway declines what it was
    asked to give back or has collected what it was asked to, is left to be decided by its answer,
    and is for none of the claims that come now.
    """
    made = _made_there(connection, order_ids)
    found = {
        order_id: order
        for order_id, order in made.items()
        if any(None in each.parts for each in order.refunds)
    }
    may_need = _may_need(connection, list(found)) if found else {}
    for order_id, order in found.items():
        free = order.free()
        rest = sum(max(0, part) for part in free.values()) - may_need.get(order_id, 0)
        for each in reversed(order.refunds):
            part = min(each.parts.get(None, 0), free[each.payment_id], rest)
            if part > 0:
                rest -= part
                free[each.payment_id] -= part
                each.move(part, None, "goodwill")
    _keep(connection, actor, found.values())
    # Good will as well: it may be open again, when what met a claim in its stead counts no more.
    fresh = [n for n, order in made.items() if any(not each.horizon for each in order.refunds)]
    if fresh:
        _note_horizon(connection, actor, fresh)


def _note_horizon(connection: Connection, actor: Actor, order_ids: Collection[int]) -> None:
    """Note where orders stand on their refunds that were made at gateways, the first time."""
    chosen = f"IN ({ids(connection, 'ids')})"
    execute(
        connection,
        "UPDATE refunds AS f SET horizon_refund_id = h.refund, horizon_payment_id = h.payment,"
        " horizon_owed_minor = h.owed, version = f.version + 1, changed_by = :by,"
        " changed_at = :now FROM (SELECT o.id, (SELECT max(g.id) FROM refunds AS g"
        "  WHERE g.order_id = o.id) AS refund, (SELECT max(p.id) FROM payments AS p"
        f"  WHERE p.order_id = o.id) AS payment, {owed_by_order_sql(chosen)} AS owed"
        f"  FROM orders AS o WHERE o.id {chosen}) AS h"
        f" WHERE h.id = f.order_id AND f.horizon_refund_id IS NULL AND {MADE_THERE}",
        {
            "ids": as_ids(order_ids),
            "by": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )


def _may_need(connection: Connection, order_ids: Sequence[int]) -> dict[int, int]:
    """Return per order what its claims may need at most, whatever gateways answer."""
    chosen = f"SELECT id FROM orders WHERE id IN ({ids(connection, 'ids')})"
    rows = execute(
        connection,
        f"{claims_sql(chosen)} SELECT s.order_id, CAST(CASE WHEN s.beyond + c.capturing > 0"
        "  THEN s.beyond + c.capturing ELSE 0 END + coalesce((SELECT sum(x.won) FROM claims AS x"
        "  WHERE x.order_id = s.order_id AND x.return_id <> 0), 0) + coalesce((SELECT"
        "  sum(f.amount_minor) FROM refunds AS f WHERE f.order_id = s.order_id"
        "  AND f.status = 'pending' AND (f.lowers_cost OR f.return_id IS NOT NULL)), 0) AS bigint)"
        " FROM surplus AS s JOIN (SELECT order_id, sum(capturing_minor) AS capturing"
        "  FROM payments WHERE order_id IN (SELECT id FROM chosen) GROUP BY order_id) AS c"
        " ON c.order_id = s.order_id",
        {"ids": as_ids(order_ids)},
    )
    return {row[0]: int(row[1]) for row in rows.fetchall()}


@dataclass(slots=True)
class _Rests:
    """What is left of an order's claims: ``surplus`` beyond its cost, if all disputes are won.

    ``before`` is what of the surplus came before a horizon; ``first`` is the first refund of each
    return.
    """

    surplus: int = 0
    room: int = 0
    charged_back: int = 0
    returns: dict[int, int] = field(default_factory=dict)
    before: dict[_Horizon, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)

    def came_before(self, each: _There, use: _Use, rest: int) -> int:
        """Return how much of the ``rest`` of a claim came before the horizon of a refund."""
        if each.horizon is None:
            return rest
        if isinstance(use, int):
            first = self.first.get(use)
            return rest if first is not None and first <= each.horizon.refund_id else 0
        return min(rest, self.before.get(each.horizon, 0))

    def reopen(self, each: _There, use: _Use, part: int) -> bool:
        """Let a part of a claim be open that was met by a refund; tell whether it was of one."""
        if use == "surplus":
            self.surplus += part
            self._came(each, part)
        elif isinstance(use, int):
            self.returns[use] = self.returns.get(use, 0) + part
        else:
            return False
        return True

    def meet(self, each: _There, use: _Use, part: int) -> None:
        """Count what a refund is for; the rest of the claim is the caller's to know."""
        if use == "surplus":
            self._came(each, -part)

    def _came(self, each: _There, part: int) -> None:
        known = each.id if each.horizon is None else min(each.id, each.horizon.refund_id)
        for horizon in self.before:
            if known <= horizon.refund_id:
                self.before[horizon] += part


def _attribute(order: _Order, rests: _Rests) -> None:
    reopened = _drop_counted_before(order, rests)
    for payment_id, rest in order.free().items():
        excess = -rest
        # What is counted no more was for nothing here: good will gives way first, then the newest.
        for each, use in _uses(order, payment_id):
            if (part := min(excess, each.parts[use])) > 0:
                excess -= part
                each.move(part, use, None)
                reopened = rests.reopen(each, use, part) or reopened
    if reopened:
        # It was good will only while the claim was met by what does not count any more.
        for each in order.refunds:
            if good_will := each.parts.get("goodwill"):
                each.move(good_will, "goodwill", None)
    free = order.free()
    room = rests.room + sum(max(0, rest) for rest in free.values())
    won = min(rests.surplus, room)
    due = max(0, won - rests.charged_back)
    # What is due comes before what may only be won.
    wanted: list[tuple[_Use, int]] = [("surplus", due), *sorted(rests.returns.items())]
    wanted.append(("surplus", won - due))
    for use, left_of_it in wanted:
        rest = left_of_it
        for each in order.refunds:
            available = min(each.parts.get(None, 0), free[each.payment_id])
            if (part := min(rests.came_before(each, use, rest), available)) > 0:
                rest -= part
                free[each.payment_id] -= part
                each.move(part, None, use)
                rests.meet(each, use, part)


def _uses(order: _Order, payment_id: int) -> Iterator[tuple[_There, _Use]]:
    mine = [each for each in reversed(order.refunds) if each.payment_id == payment_id]
    for is_good_will in (True, False):
        for each in mine:
            for use in list(each.parts):
                if use in (None, "counted_before"):
                    continue
                if (use == "goodwill") == is_good_will:
                    yield each, use


#: SQL on a payment ``p``: what has gone back to where it came from, or elsewhere.
_SETTLED = (
    "(SELECT CAST(sum(r.amount_minor) AS bigint) FROM refunds AS r WHERE r.payment_id = p.id"
    " AND r.status = 'settled' AND r.destination <> 'store_credit')"
)


def _made_there(connection: Connection, order_ids: Collection[int]) -> dict[int, _Order]:
    """Return the orders of which refunds were made at gateways, with those refunds."""
    rows = execute(
        connection,
        "SELECT f.order_id, f.payment_id, f.id, f.amount_minor, f.return_id, f.lowers_cost,"
        " EXISTS (SELECT 1 FROM refund_items AS i WHERE i.refund_id = f.id), EXISTS (SELECT 1"
        "  FROM payment_operations AS x WHERE x.payment_id = f.payment_id AND x.kind = 'refund'"
        "  AND x.status = 'settled' AND x.gateway_reference = f.gateway_reference),"
        " f.horizon_refund_id, f.horizon_payment_id, f.horizon_owed_minor, p.refunded_minor,"
        f" {_SETTLED}, (SELECT"
        "  CAST(sum(e.amount_minor) AS bigint) FROM payment_events AS e"
        "  WHERE e.payment_id = p.id AND e.kind = 'refunded')"
        " FROM refunds AS f JOIN payments AS p ON p.id = f.payment_id"
        f" WHERE f.order_id IN ({ids(connection, 'ids')}) AND {MADE_THERE} ORDER BY f.id",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    found: dict[int, _Order] = {}
    for order_id, payment_id, refund_id, amount, return_id, lowers_cost, has_item, *rest in rows:
        order = found.setdefault(order_id, _Order())
        use: _Use = "surplus" if lowers_cost else return_id or ("goodwill" if has_item else None)
        is_ours, *noted, refunded, settled, told = rest
        horizon = None if noted[0] is None else _Horizon(*noted)
        there = _There(refund_id, payment_id, use, {use: amount}, bool(is_ours), horizon)
        order.refunds.append(there)
        # What was made here counts first.
        order.counted[payment_id] = order.counted.get(payment_id, refunded - settled) + amount
        order.twice[payment_id] = settled - told
    for order in found.values():
        order.counted = {payment_id: max(0, n) for payment_id, n in order.counted.items()}
    return found


def _rests(connection: Connection, order_ids: Collection[int]) -> dict[int, _Rests]:
    chosen = f"SELECT id FROM orders WHERE id IN ({ids(connection, 'ids')})"
    rows = execute(
        connection,
        f"{claims_sql(chosen)} SELECT order_id, 0, beyond, room, charged_back FROM surplus"
        " UNION ALL SELECT order_id, return_id, won, 0, 0 FROM claims WHERE return_id <> 0",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    rests: dict[int, _Rests] = {}
    for order_id, return_id, rest, room, charged_back in rows:
        of_order = rests.setdefault(order_id, _Rests())
        if return_id:
            of_order.returns[int(return_id)] = int(rest)
        else:
            of_order.surplus, of_order.room = int(rest), int(room)
            of_order.charged_back = int(charged_back)
    _add_horizons(connection, rests)
    return rests


def _add_horizons(connection: Connection, rests: dict[int, _Rests]) -> None:
    """Say of orders which claims came before the horizons that are noted on their refunds."""
    rows = execute(
        connection,
        "SELECT f.order_id, f.horizon_refund_id, f.horizon_payment_id, f.horizon_owed_minor,"
        " (SELECT CAST(sum(p.captured_minor) AS bigint) FROM payments AS p"
        "  WHERE p.order_id = f.order_id AND p.id <= f.horizon_payment_id)"
        " - f.horizon_owed_minor - (SELECT CAST(coalesce(sum(g.amount_minor), 0) AS bigint)"
        "  FROM refunds AS g WHERE g.order_id = f.order_id AND g.lowers_cost"
        "  AND g.status <> 'failed' AND (g.id <= f.horizon_refund_id"
        "   OR g.horizon_refund_id <= f.horizon_refund_id))"
        f" FROM refunds AS f WHERE f.order_id IN ({ids(connection, 'ids')})"
        " AND f.horizon_refund_id IS NOT NULL",
        {"ids": as_ids(rests)},
    ).fetchall()
    for order_id, *noted, before in rows:
        rests[order_id].before[_Horizon(*noted)] = int(before)
    if not rows:
        return
    first = execute(
        connection,
        "SELECT order_id, return_id, min(id) FROM refunds WHERE return_id IS NOT NULL"
        f" AND order_id IN ({ids(connection, 'ids')}) GROUP BY order_id, return_id",
        {"ids": as_ids({row[0] for row in rows})},
    )
    for order_id, return_id, refund_id in first.fetchall():
        rests[order_id].first[return_id] = refund_id


_PART = {
    "id": "bigint", "amount": "bigint", "return_id": "bigint", "lowers_cost": "boolean",
    "status": "text",
}  # fmt: skip
_MOMENT = "CASE WHEN r.status = 'settled' THEN f.refunded_at END"


def _keep(connection: Connection, actor: Actor, orders: Collection[_Order]) -> bool:
    """Write down what refunds are for: a row for each part of one, good will with an item."""
    changed = [r for order in orders for r in order.refunds if list(r.parts) != [r.was]]
    if not changed:
        return False
    stamp = {"by": actor.name, "now": as_time(connection, clock.now())}
    first, others, good_will = [], [], []
    for each in changed:
        # What is for nothing yet stays where it is: so a part that is new and plain is good will.
        uses = sorted(each.parts, key=lambda use: use is not None)
        parts = [_part(each.id, use, each.parts[use]) for use in uses]
        first.append(parts[0])
        others += parts[1:]
        if uses[0] == "goodwill":
            good_will.append(each.id)
    execute(
        connection,
        "DELETE FROM refund_items WHERE refund_id IN"
        f" (SELECT id FROM ({rowset(connection, 'rows', _PART)}) AS r)",
        {"rows": as_rows(first)},
    )
    execute(
        connection,
        "UPDATE refunds AS f SET amount_minor = r.amount, return_id = r.return_id,"
        f" lowers_cost = r.lowers_cost, status = r.status, refunded_at = {_MOMENT},"
        " version = f.version + 1, changed_by = :by, changed_at = :now"
        f" FROM ({rowset(connection, 'rows', _PART)}) AS r WHERE r.id = f.id",
        {"rows": as_rows(first), **stamp},
    )
    if others:
        made = execute(
            connection,
            "INSERT INTO refunds (payment_id, order_id, return_id, status, destination, reason,"
            " currency, amount_minor, lowers_cost, gateway_reference, horizon_refund_id,"
            " horizon_payment_id, horizon_owed_minor, requested_at, refunded_at, version,"
            " changed_by, changed_at)"
            " SELECT f.payment_id, f.order_id, r.return_id, r.status, f.destination, f.reason,"
            " f.currency, r.amount, r.lowers_cost, f.gateway_reference, f.horizon_refund_id,"
            f" f.horizon_payment_id, f.horizon_owed_minor, f.requested_at, {_MOMENT}, 1,"
            f" :by, :now FROM ({rowset(connection, 'rows', _PART)}) AS r"
            " JOIN refunds AS f ON f.id = r.id RETURNING id, return_id, lowers_cost, status",
            {"rows": as_rows(others), **stamp},
        ).fetchall()
        good_will += [
            row[0] for row in made if row[1] is None and not row[2] and row[3] == "settled"
        ]
    execute(
        connection,
        "INSERT INTO refund_items (refund_id, kind, quantity, amount_minor, version, changed_by,"
        " changed_at) SELECT id, 'goodwill', 0, amount_minor, 1, :by, :now FROM refunds"
        f" WHERE id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(good_will), **stamp},
    )
    return True


def _part(refund_id: int, use: _Use, amount: int) -> dict[str, Any]:
    return {
        "id": refund_id,
        "amount": amount,
        "return_id": use if isinstance(use, int) else None,
        "lowers_cost": use == "surplus",
        # It did not go back beside what it was counted with.
        "status": "failed" if use == "counted_before" else "settled",
    }
