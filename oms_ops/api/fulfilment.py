"""Routes of the fulfilment: a shipment's next step."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel

from oms_ops.api.parts import Caller, Database, Key
from oms_ops.database import run
from oms_ops.errors import NotFound
from oms_ops.fulfilment import commands
from oms_ops.orders import queries

router = APIRouter(tags=["fulfilment"])


class Step(BaseModel):
    """What shipping needs to know; the other steps need nothing."""

    carrier: str = "manual"
    tracking_number: str | None = None


@router.post("/shipments/{shipment_id}/{step}")
def advance(
    engine: Database,
    actor: Caller,
    shipment_id: Key,
    step: Literal["pick", "pack", "ship", "deliver"],
    body: Step | None = None,
) -> dict[str, Any]:
    """Pick, pack, ship or deliver a shipment."""
    details = body or Step()

    def work(connection: Any) -> dict[str, Any]:
        number = connection.execute(
            sa.text(
                "SELECT o.number FROM shipments AS s JOIN orders AS o ON o.id = s.order_id"
                " WHERE s.id = :id"
            ),
            {"id": shipment_id},
        ).scalar()
        if number is None:
            raise NotFound(f"There is no shipment {shipment_id}.")
        if step == "ship":
            tracking = {shipment_id: details.tracking_number} if details.tracking_number else {}
            commands.ship(
                connection,
                actor,
                [shipment_id],
                carrier=details.carrier,
                tracking_numbers=tracking,
            )
        elif step == "deliver":
            commands.deliver(connection, actor, [shipment_id])
        else:
            {"pick": commands.pick, "pack": commands.pack}[step](connection, actor, [shipment_id])
        found = queries.shipments(connection, number)
        return next(shipment for shipment in found if shipment["id"] == shipment_id)

    return run(engine, work)
