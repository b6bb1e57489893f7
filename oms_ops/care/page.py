"""What a customer does about her tickets on her order's page; the token is the permission."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from oms_ops.care import commands, feedback
from oms_ops.care.forms import FeedbackIn, OpinionIn
from oms_ops.care.opening import CUSTOMER
from oms_ops.database import execute
from oms_ops.errors import NotFound
from oms_ops.orders.queries import id_of


def write(connection: Connection, token: str, number: str, message: str) -> None:
    """Write into a ticket of the order.

    Raises:
        NotFound: there is no such link, or no such ticket of this order.
        Conflict: the ticket is closed.
    """
    commands.heard(connection, CUSTOMER, {_ticket(connection, token, number): message})


def rate(connection: Connection, token: str, number: str, rating: int) -> None:
    """Say how she was helped.

    Raises:
        NotFound: there is no such link, or no such ticket of this order.
        Conflict: the ticket is not solved.
    """
    commands.rated(connection, CUSTOMER, {_ticket(connection, token, number): rating})


def give(connection: Connection, token: str, opinion: OpinionIn) -> None:
    """Say whether she would recommend the shop.

    Raises:
        NotFound: there is no such link.
        Conflict: nothing of the order was delivered yet.
    """
    row = execute(
        connection, "SELECT number FROM orders WHERE tracking_token = :token", {"token": token}
    ).fetchone()
    if row is None:
        raise NotFound("This tracking link is not valid.")
    feedback.given(connection, CUSTOMER, [FeedbackIn(order=row[0], **opinion.model_dump())])


def _ticket(connection: Connection, token: str, number: str) -> int:
    row = execute(
        connection,
        "SELECT t.id FROM tickets AS t JOIN orders AS o ON o.id = t.order_id"
        " WHERE o.tracking_token = :token AND t.id = :id",
        {"token": token, "id": id_of(number, "TK")},
    ).fetchone()
    if row is None:
        raise NotFound("This link is not valid.")
    return int(row[0])
