"""Open tickets: by staff for customers, and by a customer on her order's page.

What is due when is worked out by the rules of the moment and kept: a promise that was made stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CARE_WRITE, Actor
from oms_ops.care import messages
from oms_ops.care.forms import QuestionIn, TicketIn
from oms_ops.care.messages import Written
from oms_ops.care.tables import UNSOLVED
from oms_ops.database import as_ids, as_rows, as_time, execute, ids, rowset
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.orders.locks import lock_orders
from oms_ops.orders.queries import id_of
from oms_ops.rules import store
from oms_ops.rules.document import CareRules

#: Who made a change that a customer made by her link.
CUSTOMER = "customer"
#: Unsolved tickets of one order, beyond which its page takes no new ones.
MOST_UNSOLVED = 5


@dataclass(frozen=True, slots=True)
class _About:
    """Whom a ticket is for: the order, its customer, and where she is answered."""

    order_id: int | None
    customer_id: int | None
    email: str


def open_tickets(
    connection: Connection, actor: Actor, wanted: Sequence[TicketIn], *, notify: bool = True
) -> list[int]:
    """Open tickets for customers; return their ids, in the order given.

    ``notify=False`` is for loading history.

    Raises:
        ValidationFailed: with every bad field: an order that is not known, an address that is not
            its customer's, neither of both.
        Forbidden: the role may not answer customers.
    """
    actor.require(CARE_WRITE)
    if not wanted:
        return []
    return _open(
        connection, actor.name, list(zip(_about(connection, wanted), wanted, strict=True)),
        notify=notify,
    )  # fmt: skip


def ask(connection: Connection, token: str, question: QuestionIn) -> int:
    """Open a ticket as the customer; the token of her link is the permission. Return its id.

    Raises:
        NotFound: there is no such link.
        Conflict: the shop takes no questions online, or has enough of them about this order.
    """
    row = execute(
        connection,
        "SELECT o.id, c.id, c.email FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
        " WHERE o.tracking_token = :token",
        {"token": token},
    ).fetchone()
    if row is None:
        raise NotFound("This tracking link is not valid.")
    if not store.current(connection).rules.care.online:
        raise Conflict("We cannot be asked online; please write to us.")
    # Two questions at once are counted one after the other.
    lock_orders(connection, [row[0]])
    unsolved = ", ".join(f"'{status}'" for status in UNSOLVED)
    (waiting,) = execute(
        connection,
        f"SELECT count(*) FROM tickets WHERE order_id = :id AND status IN ({unsolved})",
        {"id": row[0]},
    ).fetchone()
    if waiting >= MOST_UNSOLVED:
        raise Conflict("We are on your other questions; please write to us there.")
    wanted = TicketIn(channel="web", **question.model_dump())
    return _open(connection, CUSTOMER, [(_About(*row), wanted)], notify=True)[0]


def due(rules: CareRules, priority: str, opened_at: datetime) -> dict[str, datetime]:
    """Return until when a ticket is to be answered and solved."""
    return {
        "first_response_due_at": opened_at
        + timedelta(hours=rules.first_response_hours.of(priority)),
        "resolution_due_at": opened_at + timedelta(hours=rules.solution_hours.of(priority)),
    }


def _about(connection: Connection, wanted: Sequence[TicketIn]) -> list[_About]:
    orders = _of_orders(connection, {id_of(each.order, "SO") for each in wanted if each.order})
    known = _of_emails(connection, {each.email for each in wanted if each.email})
    found, faults = [], []
    for index, each in enumerate(wanted):
        where = f"tickets[{index}]."
        about = orders.get(id_of(each.order, "SO")) if each.order else None
        if each.order and about is None:
            faults.append(FieldError(f"{where}order", "unknown_order", "there is no such order"))
        elif about and each.email and each.email != about.email:
            message = "is not the address of the order's customer"
            faults.append(FieldError(f"{where}email", "not_the_customers", message))
        elif about is None and each.email is None:
            message = "say the order, or where the customer is answered"
            faults.append(FieldError(f"{where}email", "required", message))
        found.append(about or _About(None, known.get(each.email or ""), each.email or ""))
    if faults:
        raise ValidationFailed("The ticket has bad fields.", faults)
    return found


def _of_orders(connection: Connection, order_ids: set[int]) -> Mapping[int, _About]:
    rows = execute(
        connection,
        "SELECT o.id, c.id, c.email FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
        f" WHERE o.id IN ({ids(connection, 'ids')})",
        {"ids": as_ids(order_ids)},
    ).fetchall()
    return {row[0]: _About(*row) for row in rows}


def _of_emails(connection: Connection, emails: set[str]) -> Mapping[str, int]:
    rows = execute(
        connection,
        "SELECT c.email, c.id FROM customers AS c"
        f" JOIN ({rowset(connection, 'rows', {'email': 'text'})}) AS r ON r.email = c.email",
        {"rows": as_rows({"email": email} for email in sorted(emails))},
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _open(
    connection: Connection, by: str, wanted: Sequence[tuple[_About, TicketIn]], *, notify: bool
) -> list[int]:
    """Write tickets with their first messages; return their ids."""
    now, rules = clock.now(), store.current(connection).rules.care
    columns = {
        "place": "bigint", "order_id": "bigint", "customer_id": "bigint", "email": "text",
        "channel": "text", "topic": "text", "subject": "text", "priority": "text",
        "first_response_due_at": "timestamptz", "resolution_due_at": "timestamptz",
    }  # fmt: skip
    kept = ", ".join(list(columns)[1:])
    stored = execute(
        connection,
        f"INSERT INTO tickets ({kept}, status, opened_at, reopened, version, changed_by,"
        f" changed_at) SELECT {kept}, 'new', :now, 0, 1, :actor, :now"
        f" FROM ({rowset(connection, 'rows', columns)}) AS r ORDER BY place RETURNING id",
        {
            "rows": as_rows(
                _row(connection, place, about, ticket, due(rules, ticket.priority, now))
                for place, (about, ticket) in enumerate(wanted)
            ),
            "actor": by,
            "now": as_time(connection, now),
        },
    ).fetchall()
    # Ids are given in the order of the rows.
    ticket_ids = sorted(row[0] for row in stored)
    messages.write(
        connection, by, now,
        [
            Written(ticket_id, "customer", "opened", ticket.message)
            for ticket_id, (_, ticket) in zip(ticket_ids, wanted, strict=True)
        ],
    )  # fmt: skip
    if notify:
        messages.tell(connection, "opened", ticket_ids)
    return ticket_ids


def _row(
    connection: Connection,
    place: int,
    about: _About,
    ticket: TicketIn,
    until: Mapping[str, datetime],
) -> dict[str, Any]:
    return {
        "place": place,
        "order_id": about.order_id,
        "customer_id": about.customer_id,
        "email": about.email,
        "channel": ticket.channel,
        "topic": ticket.topic,
        "subject": ticket.subject,
        "priority": ticket.priority,
        **{name: as_time(connection, moment) for name, moment in until.items()},
    }
