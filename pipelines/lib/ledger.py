"""What the operational tables sum to at exactly the place in the feed that has landed.

SQLite: the read transaction that landed the last batch sees nothing newer than it, so plain sums
are sums at the cursor.

PostgreSQL: a snapshot also shows transactions that committed behind one still in flight; the feed
holds those back, so plain sums could run ahead of the lake. For the few rows that such changes
touch, each table is therefore shadowed by itself with those rows set back to their last landed
state, which the change log knows, or the lake where the log was pruned since. The sums are then
exact under any load, and nobody is locked out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy.engine import Connection

from oms_ops.feed.reader import Cursor, after_sql
from oms_ops.orders.amounts import kept_sql

#: An order ``o`` whose amounts are not in the base currency with its two decimal places.
_FOREIGN = "(o.exchange_rate <> '1' OR o.currency IN ('JPY', 'KWD'))"


def base(amount: str) -> str:
    """Return SQL for an amount (no less than 0) of an order ``o`` in the base currency.

    Both in minor units; the base currency has two decimal places. At the order's own rate, halves
    rounded up, as the marts have it. An order that was not joined is in the base currency.
    """
    rate = "CAST(round(CAST(o.exchange_rate AS DOUBLE PRECISION) * 100000000) AS BIGINT)"
    whole = "CASE o.currency WHEN 'JPY' THEN 1000000 WHEN 'KWD' THEN 1000000000 ELSE 100000000 END"
    return (
        f"CASE WHEN {_FOREIGN} THEN (({amount}) * {rate} + ({whole}) / 2) / ({whole})"
        f" ELSE {amount} END"
    )


_KEPT = "l.quantity - l.cancelled"


def share(amount: str) -> str:
    """Return SQL for what a line ``l`` keeps of an amount.

    Of most lines nothing is cancelled: to ask first saves a third of the time of the lines' sums.
    """
    return (
        f"CASE WHEN l.cancelled = 0 THEN {amount} ELSE {kept_sql(amount, 'l.quantity', _KEPT)} END"
    )


#: The list value of what is not cancelled: with its rounding, without a tax that is in its price.
_GROSS = (
    f"(l.unit_price_minor * ({_KEPT}) + {share('l.rounding_minor')}"
    f" - CASE WHEN o.tax_included THEN {share('l.tax_minor')} ELSE 0 END)"
)
#: A refund without the tax in it.
_RETURNED = "(rl.refund_minor - rl.tax_minor)"


@dataclass(frozen=True, slots=True)
class Clause:
    """Rows of one table that are summed, joined to what they are valued with.

    ``key`` is the table's id. ``joined`` says of each other table that is read which ids a change
    of it touches, as a statement that lacks its ``IN (changed ids)``; a change of the ``wide`` ones
    may touch any. ``measures`` are minor units or units.

    Where nothing in an order matters unless it meets the condition ``matters``, only such orders
    are joined on PostgreSQL, which keeps the references; a row without its order is in no sum.
    """

    table: str
    key: str
    tables: str
    measures: Mapping[str, str]
    where: str = "true"
    joined: Mapping[str, str] = field(default_factory=dict)
    wide: tuple[str, ...] = ()
    matters: str = ""

    def read(self, dialect: str) -> str:
        """Return the tables that are read, with their joins."""
        if not self.matters or dialect == "sqlite":
            return self.tables
        join = self.tables.replace("JOIN orders AS o", "LEFT JOIN orders AS o")
        return f"{join} AND {self.matters}"


#: What is summed, each total in one of them; one scan serves a whole clause.
CLAUSES = (
    Clause(
        "orders",
        "o.id",
        "orders AS o",
        {
            "orders": "count(*)",
            "order_totals": "sum(o.total_minor)",
            "shipping": "sum(o.shipping_minor)",
            "tax": "sum(o.tax_minor)",
        },
    ),
    Clause(
        "order_lines",
        "l.id",
        "order_lines AS l JOIN orders AS o ON o.id = l.order_id",
        {
            "order_lines": "count(*)",
            "units_ordered": "sum(l.quantity)",
            "units_shipped": "sum(l.shipped)",
            "units_allocated": "sum(l.allocated)",
            "units_backordered": "sum(l.backordered)",
            "gross_sales": f"sum({base(_GROSS)})",
            "discounts": f"sum({base(share('l.discount_minor'))})",
        },
        joined={"orders": "SELECT id FROM order_lines WHERE order_id"},
        matters=f"({_FOREIGN} OR o.tax_included)",
    ),
    Clause(
        "payments",
        "p.id",
        "payments AS p JOIN orders AS o ON o.id = p.order_id",
        {
            "captured": f"sum({base('p.captured_minor')})",
            "refunded": f"sum({base('p.refunded_minor + p.credited_minor')})",
        },
        joined={"orders": "SELECT id FROM payments WHERE order_id"},
        matters=_FOREIGN,
    ),
    Clause(
        "return_lines",
        "rl.id",
        "return_lines AS rl JOIN returns AS rt ON rt.id = rl.return_id"
        " JOIN order_lines AS l ON l.id = rl.order_line_id JOIN orders AS o ON o.id = l.order_id",
        {"returns": f"sum({base(_RETURNED)})"},
        "(rt.refund_minor = 0 AND rt.resolved_at IS NOT NULL) OR EXISTS (SELECT 1"
        " FROM refunds AS r WHERE r.return_id = rt.id AND r.status = 'settled')",
        joined={
            "returns": "SELECT id FROM return_lines WHERE return_id",
            "order_lines": "SELECT id FROM return_lines WHERE order_line_id",
            "orders": "SELECT rl.id FROM return_lines AS rl"
            " JOIN order_lines AS l ON l.id = rl.order_line_id WHERE l.order_id",
            # All of the order: a refund may have been another return's.
            "refunds": "SELECT rl.id FROM return_lines AS rl JOIN returns AS rt"
            " ON rt.id = rl.return_id JOIN refunds AS r ON r.order_id = rt.order_id WHERE r.id",
        },
    ),
    # The moves, not the levels: on PostgreSQL a level that landed can carry the effect of a move
    # that has not (its writer drew the smaller xid, yet touched the row later).
    Clause(
        "stock_moves",
        "m.id",
        # A location that plain SQL deleted takes only its own end of a move with it.
        "stock_moves AS m LEFT JOIN locations AS f ON f.id = m.from_location_id"
        " LEFT JOIN locations AS t ON t.id = m.to_location_id",
        {
            "stock_on_hand": "sum(CASE WHEN t.kind IN ('storage', 'bin') THEN m.quantity ELSE 0 END"
            " - CASE WHEN f.kind IN ('storage', 'bin') THEN m.quantity ELSE 0 END)",
        },
        wide=("locations",),
    ),
    Clause(
        "tickets",
        "tk.id",
        "tickets AS tk",
        {
            "tickets": "count(*)",
            "tickets_answered": "count(tk.first_responded_at)",
            "tickets_solved": "count(tk.solved_at)",
            "ratings": "count(tk.rating)",
            "rating_points": "sum(tk.rating)",
        },
    ),
    Clause(
        "feedback",
        "fb.id",
        "feedback AS fb JOIN orders AS o ON o.id = fb.order_id",
        {"feedback": "count(*)", "feedback_points": "sum(fb.score)"},
        joined={"orders": "SELECT id FROM feedback WHERE order_id"},
    ),
    Clause(
        "purchase_order_lines",
        "pl.id",
        "purchase_order_lines AS pl JOIN purchase_orders AS po ON po.id = pl.purchase_order_id",
        {
            "purchased_units": "sum(pl.quantity)",
            "purchased_units_received": "sum(pl.received)",
            "purchased_units_open": "sum(CASE WHEN po.status IN ('closed', 'cancelled')"
            " OR pl.received >= pl.quantity THEN 0 ELSE pl.quantity - pl.received END)",
        },
        joined={"purchase_orders": "SELECT id FROM purchase_order_lines WHERE purchase_order_id"},
    ),
)

#: Tables that the clauses above read.
TABLES = frozenset(
    name for clause in CLAUSES for name in (clause.table, *clause.joined, *clause.wide)
)

#: Gives the newest landed states of rows (entity, id) as ``entity``, ``op`` and ``payload``.
States: TypeAlias = Callable[[Collection[tuple[str, int]]], list[dict[str, Any]]]


def totals(connection: Connection, cursor: Cursor, states: States = lambda _: []) -> dict[str, int]:
    """Return every total at ``cursor``, which the snapshot of ``connection`` must have reached.

    ``states`` is asked for rows whose landed state is no longer in the log.
    """
    before = shadows(connection, cursor, states)
    found: dict[str, int] = {}
    for clause in CLAUSES:
        [sums] = select(connection, clause, before)
        found.update(zip(clause.measures, (int(value or 0) for value in sums), strict=True))
    return found


def select(
    connection: Connection, clause: Clause, before: str, where: str = "true", by: str = ""
) -> list[tuple[Any, ...]]:
    """Return the sums of a clause, of the rows that meet ``where``; with ``by``, for each value.

    ``before`` is what :func:`shadows` returned; a sum of no rows may be None.
    """
    columns = ", ".join(clause.measures.values())
    grouped = (f"{by}, ", f" GROUP BY {by}") if by else ("", "")
    statement = (
        f"{before} SELECT {grouped[0]}{columns} FROM {clause.read(connection.dialect.name)}"
        f" WHERE ({clause.where}) AND {where}{grouped[1]}"
    )
    # The PostgreSQL driver would take a remainder's sign for a parameter.
    text = statement if connection.dialect.name == "sqlite" else statement.replace("%", "%%")
    return [tuple(row) for row in connection.exec_driver_sql(text)]


def shadows(connection: Connection, cursor: Cursor, states: States) -> str:
    """Return the WITH clause that hides what is committed but has not landed; mostly empty."""
    if connection.dialect.name == "sqlite":
        return ""
    ahead = after_sql("postgresql", cursor)
    touched: Iterable[str] = connection.exec_driver_sql(
        f"SELECT DISTINCT c.entity FROM change_log AS c WHERE {ahead}"
    ).scalars()
    names = [name for name in touched if name in TABLES]
    if not names:
        return ""
    parts = [
        # The greatest (epoch, seq) of a row is its latest state: a writer draws seq under its lock.
        "landed AS (SELECT DISTINCT ON (c.entity, c.entity_id) c.entity, c.op, c.payload"
        " FROM change_log AS c"
        f" WHERE NOT {ahead} AND (c.entity, c.entity_id) IN"
        f" (SELECT c.entity, c.entity_id FROM change_log AS c WHERE {ahead})"
        " ORDER BY c.entity, c.entity_id, c.epoch DESC, c.seq DESC)"
    ]
    pruned = connection.exec_driver_sql(
        f"SELECT DISTINCT c.entity, c.entity_id FROM change_log AS c WHERE {ahead}"
        " AND c.op <> 'I' AND NOT EXISTS (SELECT 1 FROM change_log AS p"
        " WHERE p.entity = c.entity AND p.entity_id = c.entity_id"
        " AND (p.epoch, p.seq) < (c.epoch, c.seq))"
    )
    if found := states([(row.entity, row.entity_id) for row in pruned if row.entity in TABLES]):
        for state in found:
            state["payload"] = json.loads(state["payload"])
        text = json.dumps(found).replace("'", "''")
        parts[0] = parts[0][:-1] + (
            ") UNION ALL SELECT entity, op, payload FROM"
            f" json_to_recordset('{text}') AS k (entity text, op text, payload json)"
        )
        parts[0] = parts[0].replace("AS (SELECT", "AS ((SELECT", 1) + ")"
    # Inside its own definition a WITH name still means the table: the rest reads the shadow.
    parts += [
        f"{name} AS (SELECT t.* FROM {name} AS t WHERE t.id NOT IN (SELECT c.entity_id"
        f" FROM change_log AS c WHERE c.entity = '{name}' AND {ahead})"
        f" UNION ALL SELECT was.* FROM landed, json_populate_record(NULL::{name}, landed.payload)"
        f" AS was WHERE landed.entity = '{name}' AND landed.op <> 'D')"
        for name in names
    ]
    return "WITH " + ", ".join(parts)
