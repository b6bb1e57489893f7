"""Promise 10: every change says who made it, when, and what it was before."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.database import execute, reading, run
from oms_ops.fulfilment import labels, picking, waves
from oms_ops.fulfilment.packing import Packed, pack_checked
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders import holds
from oms_ops.orders.amendment import amend
from oms_ops.orders.cancellation import cancel_units
from oms_ops.orders.history import history
from oms_ops.orders.queries import number_of
from oms_ops.orders.units import CancelledUnits
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from tests.oms_ops.picking import WORKER
from tests.oms_ops.shop import CLERK, Shop
from tests.oms_ops.test_order_life import advance, pay, placed, seen


def told(shop: Shop, order_id: int, **page: Any) -> list[dict[str, Any]]:
    with reading(shop.engine) as connection:
        return history(connection, CLERK, number_of(order_id, "SO"), **page)[0]


def of(entries: list[dict[str, Any]], entity: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["entity"] == entity]


def test_a_change_tells_who_when_before_and_after(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    run(shop.engine, lambda c: holds.hold(c, CLERK, [order_id], "large"))
    first, second = of(told(shop, order_id), "order")
    assert (first["operation"], first["by"]) == ("created", "carla")
    assert first["changes"]["total"] == {"before": None, "after": "5.97"}
    assert first["changes"]["allow_split"] == {"before": None, "after": False}
    assert first["changes"]["routing"]["after"]["warehouse"] == "ATL"
    assert second["number"] == seen(shop, order_id)["number"]
    assert second["changes"] == {
        "status": {"before": "open", "after": "on_hold"},
        "hold_reason": {"before": None, "after": "large"},
    }
    assert first["at"] <= second["at"]


def test_it_holds_all_that_belongs_to_the_order_and_nothing_else(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 3))
    other = placed(shop, ("SKU-1", 1))
    pay(shop, order_id)
    advance(shop, order_id, "pick", "pack", "ship", "deliver")
    line_id = shop.rows("SELECT id FROM order_lines WHERE order_id = :i", i=order_id)[0][0]
    request = ReturnRequest(order_id, (ReturnedLine(line_id, 1),), "wrong item")
    run(shop.engine, lambda c: returns.receive(c, CLERK, [request]))
    entries = told(shop, order_id)
    assert {entry["entity"] for entry in entries} == {
        "order", "line", "shipment", "shipment_line", "payment", "refund", "return", "return_line",
    }  # fmt: skip
    statuses = [e["changes"].get("status", {}).get("after") for e in of(entries, "shipment")]
    assert statuses == ["allocated", "picked", "packed", "shipped", "delivered"]
    number = seen(shop, other)["number"]
    assert number not in json.dumps(entries)


def test_a_shipment_line_that_is_gone_is_still_told_of(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3), ("SKU-1", 1))
    wanted = [CancelledUnits(order_id, 2, 1)]
    run(shop.engine, lambda c: cancel_units(c, CLERK, wanted, "no more"))
    last = of(told(shop, order_id), "shipment_line")[-1]
    assert (last["operation"], last["by"]) == ("deleted", "carla")
    assert last["changes"]["quantity"] == {"before": 1, "after": None}


def test_rows_of_another_order_are_not_told_of(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    order_id = placed(shop, ("SKU-1", 3), ("SKU-1", 1))
    number = seen(shop, order_id)["number"]
    amend(shop.engine, CLERK, number, {"lines": [{"line_no": 2, "quantity": 0}]})
    other = placed(shop, ("SKU-1", 2))
    operations = [e["operation"] for e in of(told(shop, order_id), "shipment_line")]
    assert operations == ["created", "created", "deleted"]
    assert [e["operation"] for e in of(told(shop, other), "shipment_line")] == ["created"]
    # As SQLite once did: the other order's line got the id of the one that was deleted.
    reused = (
        "INSERT INTO change_log (epoch, entity, entity_id, op, version, payload, changed_by,"
        " occurred_at) SELECT epoch, entity, (SELECT max(entity_id) FROM change_log"
        " WHERE entity = 'shipment_lines' AND op = 'D'), op, version, payload, changed_by,"
        " occurred_at FROM change_log WHERE entity = 'shipment_lines' ORDER BY seq DESC LIMIT 1"
    )
    run(shop.engine, lambda c: c.execute(sa.text(reused)))
    again = [e["operation"] for e in of(told(shop, order_id), "shipment_line")]
    assert again == operations


def test_it_tells_of_picks_parcels_and_labels(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    for end in (waves.cancel, picking.confirm):
        wave = run(shop.engine, lambda c: waves.open_wave(c, WORKER, "ATL", Limits()))
        run(shop.engine, lambda c, e=end, w=wave: e(c, WORKER, w))
    run(shop.engine, lambda c: pack_checked(c, WORKER, 1, [Packed({"SKU-1": 3}, 500)]))
    labels.book(shop.engine, WORKER, [1], carrier="manual", tracking_numbers={1: "T-77"})
    entries = told(shop, order_id)
    sent = [(entry["operation"], entry["by"]) for entry in of(entries, "pick")]
    steps = ("created", "deleted", "created", "changed")
    assert sent == [(step, "wanda") for step in steps]
    assert of(entries, "pick")[-1]["changes"]["picked"] == {"before": None, "after": 3}
    (parcel,) = of(entries, "parcel")
    assert parcel["changes"]["contents"]["after"] == {"SKU-1": 3}
    label = of(entries, "label")[-1]
    assert label["changes"]["tracking_number"] == {"before": None, "after": "T-77"}


def test_the_file_of_a_label_stays_in_the_database(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    advance(shop, order_id, "pick", "pack")
    labels.book(shop.engine, WORKER, [1], carrier="manual", tracking_numbers={1: "T-77"})
    assert "Main Street" in shop.rows("SELECT body FROM shipment_labels")[0][0]
    logged = shop.rows("SELECT payload FROM change_log WHERE entity = 'shipment_labels'")
    assert logged
    for (payload,) in logged:
        assert "body" not in (json.loads(payload) if isinstance(payload, str) else payload)


def test_a_row_that_was_written_as_it_was_is_not_told_of(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    before = told(shop, order_id)
    statement = "UPDATE orders SET note = note, version = version + 1"
    run(shop.engine, lambda c: c.execute(sa.text(statement)))
    assert told(shop, order_id) == before


def test_plain_sql_is_told_of_too(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    statement = "UPDATE orders SET note = 'by hand', changed_by = 'root'"
    run(shop.engine, lambda c: c.execute(sa.text(statement)))
    last = told(shop, order_id)[-1]
    assert (last["by"], last["changes"]) == ("root", {"note": {"before": None, "after": "by hand"}})


def test_pages_follow_one_another_without_a_gap(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    advance(shop, order_id, "pick", "pack", "ship")
    whole = told(shop, order_id)
    pages: list[dict[str, Any]] = []
    cursor: int | None = 0
    with reading(shop.engine) as connection:
        while cursor is not None:
            number = number_of(order_id, "SO")
            page, cursor = history(connection, CLERK, number, after=cursor, limit=2)
            pages += page
    assert pages == whole
    assert len(whole) > 6


def test_the_tracking_token_is_not_told(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    order_id = placed(shop, ("SKU-1", 3))
    token = shop.rows("SELECT tracking_token FROM orders")[0][0]
    entries = json.dumps(told(shop, order_id))
    assert "tracking_token" not in entries
    assert token not in entries


@pytest.mark.parametrize("changes", [1, 6])
def test_the_number_of_queries_does_not_grow(
    shop: Shop, changes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.stock("SKU-1", 90)
    order_id = placed(shop, ("SKU-1", 3))
    number = f"SO-{10_000_000 + order_id}"
    for units in range(changes):
        amend(shop.engine, CLERK, number, {"lines": [{"line_no": 1, "quantity": 4 + units}]})
    asked: list[str] = []

    def counted(connection: Connection, statement: str, parameters: Any) -> Any:
        asked.append(statement)
        return execute(connection, statement, parameters)

    monkeypatch.setattr("oms_ops.orders.history.execute", counted)
    assert len(told(shop, order_id)) > changes
    assert len(asked) == 2


#: Run alone: the tests import every room, a server only what it serves.
_ALONE = """
from oms_ops.api.app import create_app
from oms_ops.database import Base
from oms_ops.orders.history import _NAMES
create_app()
print(sorted(set(_NAMES) - set(Base.metadata.tables)))
"""


def test_a_server_knows_the_columns_of_all_that_a_history_tells_of() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
