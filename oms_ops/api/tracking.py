"""The page that a customer's link opens: where her order is and what came back, without an account.

The token in the link is the permission, also for asking for a return: nobody else knows the address
that the form is sent to, so a page of somebody else's cannot send it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.engine import Connection, Engine

from oms_ops import cards
from oms_ops.api import care_page
from oms_ops.api.parts import Database
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.orders import queries
from oms_ops.returns import queries as returns
from oms_ops.returns import requests
from oms_ops.returns.requests import Asked
from oms_ops.shapes import CONTROLS

router = APIRouter(tags=["tracking"])

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>Order {number}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}}
table{{width:100%;border-collapse:collapse}}td,th{{text-align:left;padding:.4rem;
border-bottom:1px solid #ddd}}td.n,th.n{{text-align:right}}.s{{font-weight:600}}
.e{{color:#a00}}input[type=number]{{width:5rem}}</style>
<h1>Order {number}</h1>{faults}<p>Status: <span class="s">{status}</span></p>{promise}{expected}
<table><tr><th>Item</th><th class="n">Ordered</th><th class="n">Shipped</th>
<th class="n">Waiting for stock</th><th>Expected</th></tr>{lines}</table>
{shipments}{returns}{form}{care}</html>"""

_FORM = """<h2>Send something back</h2><form method="post" action="{action}">
<table><tr><th>Item</th><th>How many</th><th>Why</th></tr>{lines}</table>
<p><label>Anything we should know<br><textarea name="note" rows="3" cols="40" maxlength="2000">
</textarea></label></p><p><button>Ask for a return</button></p></form>"""

#: What a reason is called on the page.
_REASONS = {
    "changed_mind": "I changed my mind",
    "damaged": "It is damaged",
    "wrong_item": "It is not what I ordered",
    "not_as_described": "It is not as described",
    "too_late": "It came too late",
    "other": "Something else",
}
#: What a return's status is to a customer.
_STATES = {
    "requested": "we look at your request",
    "approved": "send it to us",
    "refused": "refused",
    "cancelled": "given up",
    "expired": "it did not come in time",
    "received": "it is here",
    "inspected": "it is here",
    "refunding": "your refund is on its way",
    "refund_failed": "we look after your refund",
    "refunded": "refunded",
    "credited": "given as store credit",
    "exchanging": "your exchange is being made",
    "exchanged": "exchanged",
}
_LONGEST = 100_000
_FIELD = re.compile(r"quantity_(\d{1,9})")

#: What is delivered or cancelled is not expected any more.
_OVER = ("delivered", "cancelled")


@router.get("/track/{token}", response_class=HTMLResponse)
def track(engine: Database, token: str) -> HTMLResponse:
    """Show the customer her order; the token in the link is the permission."""
    return shown(engine, token)


@router.post("/track/{token}/returns", response_class=HTMLResponse)
async def ask_for_return(engine: Database, token: str, request: Request) -> Response:
    """Ask for a return by the form of the page: units by line, and why."""
    body = await read(request)
    return await run_sync(_ask, engine, token, body)


async def read(request: Request) -> bytes:
    """Return the body of a form.

    Raises:
        ValidationFailed: it is longer than any form here.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            fault = FieldError("body", "too_long", f"at most {_LONGEST} bytes")
            raise ValidationFailed("The form cannot be read.", [fault])
    return body


def _ask(engine: Engine, token: str, body: bytes) -> Response:
    try:
        lines, note = _form(body)
        run(engine, lambda connection: requests.ask(connection, token, lines, note))
    except (ValidationFailed, Conflict) as refusal:
        faults = [fault.message for fault in refusal.errors] or [refusal.message]
        return shown(engine, token, faults, refusal.status)
    return seen_again(token)


def seen_again(token: str) -> Response:
    """Send the customer back to her page, so that a reload asks for nothing again."""
    return RedirectResponse(f"/track/{token}", 303, headers={"Cache-Control": "no-store"})


def fields_of(body: bytes) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        ValidationFailed: it is none.
    """
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=2000, errors="strict"))
    except ValueError:
        fault = FieldError("body", "unreadable", "the form cannot be read")
        raise ValidationFailed("The form cannot be read.", [fault]) from None


def _form(body: bytes) -> tuple[list[Asked], str]:
    fields = fields_of(body)
    lines = []
    for name, value in fields.items():
        found = _FIELD.fullmatch(name)
        if found is None or not value.strip() or value.strip() == "0":
            continue
        text = value.strip()
        units = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        lines.append(Asked(int(found[1]), units, fields.get(f"reason_{found[1]}", "other")))
    note = fields.get("note", "").strip()
    if re.search(CONTROLS, note) or len(note) > 2000:
        fault = FieldError("note", "invalid", "at most 2000 characters of text")
        raise ValidationFailed("The form has bad fields.", [fault])
    if cards.looks_like_card(note):
        message = "please write no card number: we need none to send your money back"
        raise ValidationFailed(
            "The form has bad fields.", [FieldError("note", cards.CODE, message)]
        )
    if not lines:
        fault = FieldError("lines", "required", "say how many of what you send back")
        raise ValidationFailed("The form has bad fields.", [fault])
    return lines, note


def shown(
    engine: Engine, token: str, faults: Sequence[str] = (), status: int = 200
) -> HTMLResponse:
    """Return the page of the order, with what was wrong with the customer's form."""
    with reading(engine) as connection:
        page = _page(connection, token, faults)
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})


def _page(connection: Connection, token: str, faults: Sequence[str]) -> str:
    number = connection.execute(
        sa.text("SELECT number FROM orders WHERE tracking_token = :token"), {"token": token}
    ).scalar()
    if number is None:
        raise NotFound("This tracking link is not valid.")
    order_id = queries.id_of(number, "SO")
    order = queries.get(connection, number)
    lines = "".join(
        f"<tr><td>{escape(line['name'])}</td><td class=n>{line['quantity']}</td>"
        f"<td class=n>{line['shipped']}</td><td class=n>{line['backordered']}</td>"
        f"<td>{_expected(line['promised_on']) if line['backordered'] else ''}</td></tr>"
        for line in order["lines"]
    )
    parcels = "".join(
        f"<p>Parcel {escape(s['number'])}: {escape(s['status'])}"
        f" {escape(s['tracking_number'] or '')}</p>"
        for s in queries.shipments_of(connection, number)
    )
    waits = any(line["backordered"] for line in order["lines"])
    day = order["deliver_by"] if order["fulfilment_status"] not in _OVER else None
    return _PAGE.format(
        number=escape(number),
        status=escape(order["fulfilment_status"].replace("_", " ")),
        promise=f"<p>All of it expected: {_expected(order['promised_on'])}</p>" if waits else "",
        expected=f"<p>Delivery by {escape(day)}</p>" if day else "",
        lines=lines,
        shipments=parcels,
        faults="".join(f'<p class="e" role="alert">{escape(fault)}</p>' for fault in faults),
        returns="".join(map(_return, returns.of_order(connection, order_id))),
        form=_ask_form(token, requests.eligible(connection, order_id)),
        care=care_page.of_order(connection, token, order_id),
    )


def _return(back: Mapping[str, Any]) -> str:
    what = ", ".join(f"{line['quantity']} × {line['name']}" for line in back["lines"])
    refund = ""
    if back["status"] in ("refunding", "refunded", "credited"):
        refund = f" ({back['refund']} {back['currency']})"
    why = f": {back['decision']}" if back["status"] == "refused" and back["decision"] else ""
    state = f"{_STATES[back['status']]}{refund}{why}"
    return (
        f"<p>Return {escape(back['number'])} of {escape(what)}:"
        f' <span class="s">{escape(state)}</span></p>'
    )


def _ask_form(token: str, lines: Iterable[Mapping[str, Any]]) -> str:
    choices = "".join(
        f'<option value="{k}">{escape(text)}</option>' for k, text in _REASONS.items()
    )
    rows = "".join(
        f"<tr><td>{escape(line['name'])}{_until(line['until'])}</td>"
        f'<td><input type="number" name="quantity_{line["line_no"]}" min="0" max="{line["left"]}"'
        f' value="0" aria-label="How many of {escape(line["name"])}"></td>'
        f'<td><select name="reason_{line["line_no"]}" aria-label="Why">{choices}</select></td></tr>'
        for line in lines
    )
    return _FORM.format(action=f"/track/{escape(token)}/returns", lines=rows) if rows else ""


def _until(day: Any) -> str:
    return f"<br><small>until {day.isoformat()}</small>" if day is not None else ""


def _expected(day: str | None) -> str:
    return escape(day) if day else "no day yet"
