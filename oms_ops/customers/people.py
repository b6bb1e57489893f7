"""Known customers: their names, the group whose prices they pay, their id in other systems.

A customer is known by the e-mail address, in small letters. Ordering makes a guest a customer;
here is what somebody decides about one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import EmailStr, TypeAdapter, ValidationError
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import CUSTOMERS_READ, CUSTOMERS_WRITE, Actor
from oms_ops.customers.phones import phone_number
from oms_ops.customers.tables import Customer
from oms_ops.database import as_time, execute, read_time, unique_again
from oms_ops.errors import Conflict, FieldError, NotFound, ValidationFailed
from oms_ops.shapes import Body, Text, Words

_DIALLED = re.compile(r"[\d\s()+./-]+")
#: Fewer are those of too many.
_FEWEST_DIGITS = 4
_EMAIL = TypeAdapter(Annotated[str, EmailStr])


class CustomerIn(Body):
    """A customer; ``phone`` has its country code (``+1 404 555 0100``).

    ``customer_group`` is the group that price lists and discount codes name; ``external_id`` is the
    customer's id in another system, of one customer only.
    """

    name: Words
    phone: Text | None = None
    customer_group: Text | None = None
    external_id: Text | None = None


def put(connection: Connection, actor: Actor, email: str, wanted: CustomerIn) -> dict[str, Any]:
    """Create the customer with this e-mail address, or change her to this; return her.

    Orders placed from now on have the prices of her group.

    Raises:
        ValidationFailed: with every bad field.
        Conflict: another customer has the external id.
    """
    actor.require(CUSTOMERS_WRITE)
    errors = []
    try:
        address = _EMAIL.validate_python(email).lower()
    except ValidationError:
        errors.append(FieldError("email", "invalid", f"{email!r} is no e-mail address"))
    phone = phone_number(wanted.phone, None) if wanted.phone else None
    if wanted.phone and phone is None:
        message = "is no phone number with a country code"
        errors.append(FieldError("phone", "invalid_phone", message))
    if errors:
        raise ValidationFailed("The customer has bad fields.", errors)
    _refuse_taken(connection, address, wanted.external_id)
    with unique_again():
        execute(
            connection,
            "INSERT INTO customers (email, external_id, name, phone, customer_group, created_at,"
            " version, changed_by, changed_at) VALUES (:email, :external_id, :name, :phone,"
            " :customer_group, :now, 1, :actor, :now) ON CONFLICT (email) DO UPDATE SET"
            " external_id = excluded.external_id, name = excluded.name, phone = excluded.phone,"
            " customer_group = excluded.customer_group, version = customers.version + 1,"
            " changed_by = excluded.changed_by, changed_at = excluded.changed_at",
            {
                "email": address,
                **wanted.model_dump(exclude={"phone"}),
                "phone": phone,
                "actor": actor.name,
                "now": as_time(connection, clock.now()),
            },
        )
    return _shown(connection, address)


def get(connection: Connection, actor: Actor, email: str) -> dict[str, Any]:
    """Return a customer by e-mail address.

    Raises:
        NotFound: there is no such customer.
    """
    actor.require(CUSTOMERS_READ)
    return _shown(connection, email.lower())


def listing(
    connection: Connection,
    actor: Actor,
    *,
    search: str = "",
    external_id: str | None = None,
    customer_group: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of customers, the oldest first, and the cursor of the next page.

    ``search`` is a part of the e-mail address or the name, in any case, an external id, or the last
    digits of the phone number at least (``(404) 555-0100``, ``020 7946 0018``, ``0100``).
    """
    actor.require(CUSTOMERS_READ)
    query = sa.select(Customer.__table__).where(Customer.id > after).order_by(Customer.id)
    if text := search.strip():
        query = query.where(sa.or_(*_found(text)))
    if external_id is not None:
        query = query.where(Customer.external_id == external_id)
    if customer_group is not None:
        query = query.where(Customer.customer_group == customer_group)
    found = connection.execute(query.limit(limit + 1)).all()
    cursor = found[limit - 1].id if len(found) > limit else None
    return [_render(row) for row in found[:limit]], cursor


def _found(text: str) -> list[sa.ColumnElement[bool]]:
    """Return where somebody may be found by what she says of herself."""
    found = [
        Customer.email.icontains(text, autoescape=True),
        Customer.name.icontains(text, autoescape=True),
        Customer.external_id == text,
    ]
    # Numbers are kept with the country's code, which callers leave out: ``(0)`` stands for it.
    digits = re.sub(r"\D", "", text.replace("(0)", ""))
    if _DIALLED.fullmatch(text) and len(digits) >= _FEWEST_DIGITS:
        found.append(Customer.phone.endswith(digits.lstrip("0") or digits))
        found.append(Customer.phone.endswith(digits))
    return found


def _refuse_taken(connection: Connection, email: str, external_id: str | None) -> None:
    if external_id is None:
        return
    holder = connection.scalar(
        sa.select(Customer.email).where(
            Customer.external_id == external_id, Customer.email != email
        )
    )
    if holder is not None:
        fault = FieldError("external_id", "taken", f"is that of {holder}")
        raise Conflict("Another customer has this external id.", [fault])


def _shown(connection: Connection, email: str) -> dict[str, Any]:
    row = connection.execute(
        sa.select(Customer.__table__).where(Customer.email == email)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no customer {email!r}.")
    return _render(row)


def _render(row: Any) -> dict[str, Any]:
    names = ("email", "name", "phone", "customer_group", "external_id", "version", "changed_by")
    created = read_time(row.created_at)
    return {
        **{name: getattr(row, name) for name in names},
        "created_at": created.isoformat() if created else None,
    }
