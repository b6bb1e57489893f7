"""Routes of the known customers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from oms_ops.api.parts import Caller, Cursor, Database, Limit, Search
from oms_ops.customers import people
from oms_ops.customers.people import CustomerIn
from oms_ops.database import reading, run

router = APIRouter(prefix="/customers", tags=["customers"])

Email = Annotated[str, Path(max_length=320)]
Named = Annotated[str | None, Query(max_length=200)]


@router.get("")
def list_customers(
    engine: Database,
    actor: Caller,
    search: Search = "",
    external_id: Named = None,
    customer_group: Named = None,
    after: Cursor = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List customers: by a part of name, e-mail address or phone number, by group or other id."""
    with reading(engine) as connection:
        page, cursor = people.listing(
            connection,
            actor,
            search=search,
            external_id=external_id,
            customer_group=customer_group,
            after=after,
            limit=limit,
        )
    return {"data": page, "next": cursor}


@router.get("/{email}")
def get_customer(engine: Database, actor: Caller, email: Email) -> dict[str, Any]:
    """Show a customer."""
    with reading(engine) as connection:
        return people.get(connection, actor, email)


@router.put("/{email}")
def put_customer(engine: Database, actor: Caller, email: Email, body: CustomerIn) -> dict[str, Any]:
    """Create a customer or change her: name, phone, group, id in another system."""
    return run(engine, lambda connection: people.put(connection, actor, email, body))
