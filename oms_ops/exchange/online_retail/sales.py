"""Invoices with goods: captured as orders, shipped, paid and delivered on the invoice's day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import as_ids, as_rows, ids, rowset
from oms_ops.exchange import seen
from oms_ops.exchange.online_retail.foundation import WAREHOUSE, moment
from oms_ops.exchange.online_retail.places import PLACES
from oms_ops.exchange.online_retail.source import CURRENCY, pennies
from oms_ops.exchange.reader import ROW
from oms_ops.exchange.runs import ORDER_REJECTED, Fate
from oms_ops.exchange.seen import Taken
from oms_ops.fulfilment import commands as fulfilment
from oms_ops.orders import bulk
from oms_ops.payments import commands as payments

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

CHANNEL = "online-retail"
#: The data holds neither addresses nor names: everybody's is made of their number.
MAIL_DOMAIN = "online-retail.example"
STREET = "1 Unknown Street"
PAYMENT_METHOD = "card"
#: Hours of the invoice's day, all after its last invoice.
SHIPPED, DELIVERED = 21, 22


def take(
    connection: Connection, actor: Actor, rows: pl.DataFrame, day: date
) -> tuple[list[Fate], list[tuple[int, str, str]]]:
    """Capture and complete the orders of a day's ``sale`` and ``shipping`` rows.

    Returns the fates of the rows that were taken or were taken before, and what is wrong with the
    others as (row, code, message).
    """
    import polars as pl

    if rows.is_empty():
        return [], []
    rows = rows.with_columns(ref=pl.col(ROW).min().over("invoice"))
    digests = _digests(rows)
    keys = {ref: (CHANNEL, invoice) for ref, invoice in rows.select("ref", "invoice").iter_rows()}
    known = seen.known(connection, keys.items())
    fresh = rows.filter(~pl.col("ref").is_in(list(known)))
    result = bulk.capture_many(connection, actor, *_frames(fresh))
    seen.retry_taken(connection, keys, result.rejected)
    seen.remember(
        connection,
        ((*keys[ref], Taken(digests[ref], number)) for ref, number in result.numbers.items()),
    )
    _complete(connection, actor, [keys[ref][1] for ref in result.numbers], day)
    taken = {ref: ("order", number) for ref, number in result.numbers.items()}
    taken |= {
        ref: ("repeated", one.document) for ref, one in known.items() if one.digest == digests[ref]
    }
    return _fates(rows, taken), _refused(rows, taken, known, result.rejected)


def _digests(rows: pl.DataFrame) -> dict[int, str]:
    import polars as pl

    said = pl.struct("code", "quantity", "price", "customer", "country", "placed_at")
    texts = rows.sort(ROW).select("ref", text=said.struct.json_encode())
    grouped = texts.group_by("ref", maintain_order=True).agg(pl.col("text").str.join("\n"))
    return {ref: seen.digest(text) for ref, text in grouped.iter_rows()}


def _frames(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the frames that bulk capture takes."""
    import polars as pl

    customer, invoice = pl.col("customer"), pl.col("invoice")
    place = {name: place._asdict() for name, place in PLACES.items()}
    fields = {
        f"ship_{field}": pl.col("country").replace_strict(
            {name: parts[field] for name, parts in place.items()},
            default=None,
            return_dtype=pl.String,
        )
        for field in ("country", "city", "postal_code", "region")
    }
    who = pl.coalesce("customer-" + customer, "guest-" + invoice)
    name = pl.coalesce("Customer " + customer, "Guest of " + invoice)
    shipping = rows.filter(pl.col("plan") == "shipping").group_by("ref").agg(
        shipping_minor=pennies(pl.col("amount")).sum()
    )  # fmt: skip
    heads = rows.unique("ref", keep="first", maintain_order=True).select(
        "ref",
        "placed_at",
        channel=pl.lit(CHANNEL),
        external_id=invoice,
        currency=pl.lit(CURRENCY),
        email=who + f"@{MAIL_DOMAIN}",
        customer_name=name,
        customer_external_id=customer,
        warehouse=pl.lit(WAREHOUSE),
        ship_name=name,
        ship_line1=pl.lit(STREET),
        **fields,
        payment_method=pl.lit(PAYMENT_METHOD),
        allow_backorder=pl.lit(False),
        # The data knows no taxes: none are to be computed.
        tax_included=pl.lit(True),
        shipping_tax_minor=pl.lit(0, pl.Int64),
    )
    heads = heads.join(shipping, on="ref", how="left", maintain_order="left").with_columns(
        pl.col("shipping_minor").fill_null(0)
    )
    unit = pl.col("price") // 100
    lines = rows.filter(pl.col("plan") == "sale").select(
        "ref",
        "quantity",
        line_no=pl.col(ROW).cum_count().over("ref").cast(pl.Int64),
        sku=pl.col("code"),
        unit_price_minor=unit,
        discount_minor=pl.lit(0, pl.Int64),
        tax_minor=pl.lit(0, pl.Int64),
        # A price below the penny: the line's amount is rounded to one, and that is stored.
        rounding_minor=pennies(pl.col("amount")) - pl.col("quantity") * unit,
    )
    return heads, lines


def _complete(connection: Connection, actor: Actor, invoices: Sequence[str], day: date) -> None:
    """Pick, pack, ship, pay and deliver the orders: the data knows only of invoices."""
    orders = order_ids(connection, invoices)
    shipments = _ids(connection, "shipments", orders)
    with clock.at(moment(day, SHIPPED)):
        fulfilment.pick(connection, actor, shipments)
        fulfilment.pack(connection, actor, shipments, history=True)
        fulfilment.ship(connection, actor, shipments, notify=False)
        payments.capture(connection, actor, _ids(connection, "payments", orders))
    with clock.at(moment(day, DELIVERED)):
        fulfilment.deliver(connection, actor, shipments, notify=False)


def order_ids(connection: Connection, invoices: Iterable[str]) -> list[int]:
    """Return the ids of the orders that invoices became."""
    found = connection.execute(
        sa.text(
            f"SELECT o.id FROM ({rowset(connection, 'rows', {'invoice': 'text'})}) AS r"
            " JOIN orders AS o ON o.channel = :channel AND o.external_id = r.invoice ORDER BY o.id"
        ),
        {"rows": as_rows({"invoice": invoice} for invoice in invoices), "channel": CHANNEL},
    )
    return list(found.scalars())


def _ids(connection: Connection, table: str, orders: Sequence[int]) -> list[int]:
    found = connection.execute(
        sa.text(
            f"SELECT id FROM {table} WHERE order_id IN ({ids(connection, 'orders')}) ORDER BY id"
        ),
        {"orders": as_ids(orders)},
    )
    return list(found.scalars())


def _fates(rows: pl.DataFrame, taken: dict[int, tuple[str, str]]) -> list[Fate]:
    fates = []
    columns = (ROW, "ref", "plan", "reason", "amount")
    for row, ref, plan, reason, amount in rows.select(*columns).iter_rows():
        if ref in taken:
            fate, number = taken[ref]
            if fate == "order" and plan == "shipping":
                fate = "charge"
            fates.append(Fate(row, fate, reason, None, number, amount))
    return fates


def _refused(
    rows: pl.DataFrame,
    taken: dict[int, tuple[str, str]],
    known: dict[int, Taken],
    rejected: Sequence[bulk.Rejected],
) -> list[tuple[int, str, str]]:
    """Return what is wrong with each row of the orders that were not taken."""
    reasons = {order.ref: order.errors for order in rejected}
    refused = []
    for row, ref in rows.select(ROW, "ref").iter_rows():
        if ref in taken:
            continue
        if ref in known:
            refused.append((row, "differs", "this invoice was imported with another content"))
            continue
        first, text = reasons[ref][0], "; ".join(f"{e.field}: {e.message}" for e in reasons[ref])
        refused.append((row, first.code if row == ref else ORDER_REJECTED, text))
    return refused
