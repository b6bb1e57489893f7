"""The page that a customer's link opens: where her order is, without an account."""

from __future__ import annotations

from html import escape

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from oms_ops.api.parts import Database
from oms_ops.database import reading
from oms_ops.errors import NotFound
from oms_ops.orders import queries

router = APIRouter(tags=["tracking"])

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>Order {number}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}
table{{width:100%;border-collapse:collapse}}td,th{{text-align:left;padding:.4rem;
border-bottom:1px solid #ddd}}td.n,th.n{{text-align:right}}.s{{font-weight:600}}</style>
<h1>Order {number}</h1><p>Status: <span class="s">{status}</span></p>{promise}{expected}
<table><tr><th>Item</th><th class="n">Ordered</th><th class="n">Shipped</th>
<th class="n">Waiting for stock</th><th>Expected</th></tr>{lines}</table>{shipments}</html>"""

#: What is delivered or cancelled is not expected any more.
_OVER = ("delivered", "cancelled")


@router.get("/track/{token}", response_class=HTMLResponse)
def track(engine: Database, token: str) -> HTMLResponse:
    """Show the customer her order; the token in the link is the permission."""
    with reading(engine) as connection:
        number = connection.execute(
            sa.text("SELECT number FROM orders WHERE tracking_token = :token"), {"token": token}
        ).scalar()
        if number is None:
            raise NotFound("This tracking link is not valid.")
        order = queries.get(connection, number)
        shipments = queries.shipments_of(connection, number)
    lines = "".join(
        f"<tr><td>{escape(line['name'])}</td><td class=n>{line['quantity']}</td>"
        f"<td class=n>{line['shipped']}</td><td class=n>{line['backordered']}</td>"
        f"<td>{_expected(line['promised_on']) if line['backordered'] else ''}</td></tr>"
        for line in order["lines"]
    )
    parcels = "".join(
        f"<p>Parcel {escape(s['number'])}: {escape(s['status'])}"
        f" {escape(s['tracking_number'] or '')}</p>"
        for s in shipments
    )
    status = order["fulfilment_status"].replace("_", " ")
    waits = any(line["backordered"] for line in order["lines"])
    day = order["deliver_by"] if order["fulfilment_status"] not in _OVER else None
    page = _PAGE.format(
        number=escape(number),
        status=escape(status),
        promise=f"<p>All of it expected: {_expected(order['promised_on'])}</p>" if waits else "",
        expected=f"<p>Delivery by {escape(day)}</p>" if day else "",
        lines=lines,
        shipments=parcels,
    )
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})


def _expected(day: str | None) -> str:
    return escape(day) if day else "no day yet"
