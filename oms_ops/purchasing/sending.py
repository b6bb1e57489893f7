"""Send a purchase order to its supplier: an e-mail with the lines as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import PURCHASING_WRITE, Actor
from oms_ops.cells import cell
from oms_ops.database import as_time
from oms_ops.errors import ValidationFailed
from oms_ops.notifications import outbox
from oms_ops.orders import promises
from oms_ops.purchasing import queries, states
from oms_ops.rules import store

_COLUMNS = ("line_no", "sku", "name", "quantity", "unit_cost", "currency", "amount", "expected_on")


def send(
    connection: Connection, actor: Actor, number: str, *, notify: bool = True
) -> dict[str, Any]:
    """Send a draft; return the purchase order with ``sent_to``, the address that it is queued for.

    From now on its goods are expected. A supplier without an e-mail address gets the CSV by hand:
    ``sent_to`` is then None, and ``not_sent`` says why. With ``notify=False``, for loading history,
    nobody is written to.

    Raises:
        NotFound: there is no such purchase order.
        Conflict: it is no draft.
        ValidationFailed: the day on which it is expected has passed (``before_the_order``): edit
            the draft first.
    """
    actor.require(PURCHASING_WRITE)
    head = states.lock(connection, number, "send")
    moment = clock.now()
    # Drafts wait: the supplier would be asked for yesterday, and customers promised it.
    day = date.fromisoformat(str(head["expected_on"]))
    if faults := states.day_faults("expected_on", day, moment):
        raise ValidationFailed(f"{head['number']} is expected on a day that has passed.", faults)
    now = as_time(connection, moment)
    states.advance(connection, actor, head, sent_at=now, ordered_at=now)
    promises.update(connection, actor, states.pairs(connection, head["id"]))
    order = queries.get(connection, head["number"])
    if not notify:
        return order
    return tell_supplier(connection, order, head["email"], "purchase_order.sent", "Purchase order")


def tell_supplier(
    connection: Connection, order: Mapping[str, Any], email: str | None, kind: str, title: str
) -> dict[str, Any]:
    """Queue the e-mail that holds a purchase order, where the supplier has an address.

    Returns the order with ``sent_to``, or with None and why in ``not_sent``.
    """
    if email is None:
        reason = f"{order['supplier']} has no e-mail address: send the CSV by hand"
        return {**order, "sent_to": None, "not_sent": reason}
    rules = store.current(connection).rules.purchasing
    outbox.post(
        connection,
        kind,
        email,
        {
            "purchase_order": order["number"],
            "subject": f"{title} {order['number']} from {rules.shop_name}",
            "text": _text(order, title, rules.shop_name),
            "reply_to": rules.reply_to,
            "attachments": [
                {
                    "name": f"{order['number']}.csv",
                    "media_type": "text/csv",
                    "body": as_csv(order),
                }
            ],
        },
    )

    return {**order, "sent_to": email, "not_sent": None}


def as_csv(order: Mapping[str, Any]) -> str:
    """Return the lines of a purchase order, as :func:`queries.get` shows it, as CSV (RFC 4180)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    for line in order["lines"]:
        cost = line["confirmed_cost"] or line["unit_cost"]
        writer.writerow(
            {
                **{name: cell(line[name]) for name in ("line_no", "sku", "name", "quantity")},
                "unit_cost": cost,
                "currency": order["currency"],
                "amount": str(line["quantity"] * Decimal(cost)),
                "expected_on": line["expected_on"],
            }
        )
    return text.getvalue()


def _text(order: Mapping[str, Any], title: str, shop: str) -> str:
    lines = [
        f"{title} {order['number']}",
        f"From: {shop}",
        f"To: {order['supplier_name']}",
        f"Deliver to: {order['warehouse']}, expected on {order['expected_on']}",
        "",
        *(
            f"{line['line_no']:>4}  {line['sku']}  {line['name']}: {line['quantity']}"
            f" x {line['confirmed_cost'] or line['unit_cost']} {order['currency']}"
            for line in order["lines"]
        ),
        "",
        f"Total: {order['total']} {order['currency']}",
    ]
    if order["note"]:
        lines += ["", order["note"]]
    return "\n".join(lines)
