"""A barcode in, the next step out: what it is, what is next, and nothing taken by accident."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from oms_ops.access import keys
from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.errors import Conflict, Forbidden, NotFound, ValidationFailed
from oms_ops.fulfilment import delivery, picking, waves
from oms_ops.fulfilment.delivery import Failed
from oms_ops.fulfilment.scan import KINDS, Scan, scan
from oms_ops.fulfilment.waves import Limits
from oms_ops.orders.holds import hold
from oms_ops.reconcile import reconcile
from oms_ops.returns import commands as returns
from oms_ops.returns.commands import ReturnedLine, ReturnRequest
from oms_ops.rules import store
from oms_ops.stock import bin_moves, bins
from oms_ops.stock.bin_moves import BinMove
from oms_ops.stock.bins import NewBin
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import advance, placed

WORKER = Actor("wanda", "warehouse")


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """Return the shop with goods in both warehouses."""
    shop.stock("SKU-1", 20)
    shop.stock("SKU-2", 5, "NYC")
    return shop


def read(shop: Shop, code: str, **more: Any) -> dict[str, Any]:
    return scan(shop.engine, WORKER, Scan(code, **more))


def numbers(shop: Shop) -> list[str]:
    return [row[0] for row in shop.rows("SELECT number FROM shipments ORDER BY id")]


def test_the_request_of_each_answer_leads_to_the_next(stocked: Shop) -> None:
    placed(stocked, ("SKU-1", 2))
    (number,) = numbers(stocked)
    key = run(stocked.engine, lambda c: keys.create(c, "warehouse", "scanner"))
    steps = []
    with TestClient(app_over(stocked.engine), headers={"Authorization": f"Bearer {key}"}) as api:
        while True:
            answer = api.post("/v1/scan", json={"code": number}).json()
            following = answer["next"]
            if following is None:
                break
            steps.append((answer["shipment"]["status"], following["step"]))
            request = following["request"]
            done = api.request(request["method"], request["path"], json=request["body"])
            assert done.status_code == 200, done.text
    assert steps == [
        ("allocated", "pick"), ("picked", "pack"), ("packed", "ship"), ("shipped", "deliver"),
    ]  # fmt: skip
    assert answer["shipment"]["status"] == "delivered"


def test_a_scan_takes_the_step_that_is_next_and_no_other(stocked: Shop) -> None:
    placed(stocked, ("SKU-1", 2))
    (number,) = numbers(stocked)
    done = read(stocked, number.lower(), advance=True, step="pick")
    assert (done["advanced"], done["shipment"]["status"], done["next"]["step"]) == (
        "pick", "picked", "pack",
    )  # fmt: skip
    with pytest.raises(Conflict) as twice:
        read(stocked, number, advance=True, step="pick")
    assert twice.value.errors[0].code == "wrong_step"
    assert read(stocked, number, advance=True)["advanced"] == "pack"
    assert read(stocked, number, advance=True)["advanced"] == "ship"
    # That it arrived is not known by scanning it here.
    still = read(stocked, number, advance=True)
    assert (still["advanced"], still["shipment"]["status"]) == (None, "shipped")


def test_a_packed_parcel_gets_the_label_of_the_only_carrier(stocked: Shop) -> None:
    rules = {"carriers": {"post": {"adapter": "file"}}}
    run(stocked.engine, lambda c: store.publish(c, ADMIN, rules))
    advance(stocked, placed(stocked, ("SKU-1", 2)), "pick", "pack")
    (number,) = numbers(stocked)
    done = read(stocked, number, advance=True)
    assert (done["advanced"], done["shipment"]["label"], done["next"]) == (
        "label", "requested", None,
    )  # fmt: skip
    assert "has not answered" in done["blocked"]
    rules["carriers"]["other"] = {"adapter": "file"}
    run(stocked.engine, lambda c: store.publish(c, ADMIN, rules))
    advance(stocked, placed(stocked, ("SKU-1", 2)), "pick", "pack")
    several = read(stocked, numbers(stocked)[1], advance=True)
    assert (several["advanced"], several["next"]["needs"]) == (None, ["carrier"])


def test_what_stands_in_the_way_is_said(stocked: Shop) -> None:
    order_id = placed(stocked, ("SKU-1", 2))
    (number,) = numbers(stocked)
    run(stocked.engine, lambda c: hold(c, CLERK, [order_id], "check the address"))
    held = read(stocked, number, advance=True)
    assert (held["next"], held["advanced"]) == (None, None)
    assert held["blocked"].endswith("is on hold: check the address")
    whole = placed(stocked, ("SKU-1", 50), allow_backorder=True, ship_complete=True)
    assert "waits for stock" in read(stocked, f"SO-{10_000_000 + whole}")["blocked"]


def test_the_walk_passes_by_what_is_held(stocked: Shop) -> None:
    held = placed(stocked, ("SKU-1", 1))
    placed(stocked, ("SKU-1", 1))
    wave = run(stocked.engine, lambda c: waves.open_wave(c, WORKER, "ATL", Limits()))
    run(stocked.engine, lambda c: hold(c, CLERK, [held], "check"))
    first, second = read(stocked, wave)["wave"]["open_picks"]
    assert (first["blocked"][-14:], second["blocked"]) == ("on hold: check", None)
    for code, more in ((wave, {}), ("ATL-STORAGE", {}), ("SKU-1", {"wave": wave})):
        offered = read(stocked, code, **more)
        assert list(offered["next"]["request"]["body"]["picks"]) == [str(second["id"])]
        assert offered["blocked"] is None
    run(stocked.engine, lambda c: picking.confirm(c, WORKER, wave))
    last = read(stocked, wave)
    assert (last["next"], last["blocked"]) == (None, first["blocked"])


def test_what_came_back_is_taken_in_once(stocked: Shop) -> None:
    order_id = placed(stocked, ("SKU-1", 2))
    advance(stocked, order_id, "pick", "pack", "ship")
    (number,) = numbers(stocked)
    run(stocked.engine, lambda c: delivery.bring_back(c, WORKER, [1]))
    back = read(stocked, number)["next"]
    assert (back["step"], back["needs"]) == ("receive", ["lines", "reason"])
    assert back["request"]["body"] == {"order": f"SO-{10_000_000 + order_id}", "received": True}
    line_id = stocked.rows("SELECT id FROM order_lines")[0][0]
    for expected in ("receive", None):
        back_again = ReturnRequest(order_id, (ReturnedLine(line_id, 1),), "undelivered")
        run(stocked.engine, lambda c, r=back_again: returns.receive(c, ADMIN, [r]))
        following = read(stocked, number)["next"]
        assert (following["step"] if following else None) == expected


def test_where_and_to_what_end_is_checked(stocked: Shop) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read(stocked, "SKU-1", warehouse="LAX", wave="WV-99999999")
    assert [(e.field, e.code) for e in refused.value.errors] == [
        ("warehouse", "unknown_warehouse"), ("wave", "unknown_wave"),
    ]  # fmt: skip
    with pytest.raises(ValidationFailed) as refused:
        read(stocked, "SKU-1", kind="song", step="dance", warehouse="LAX")
    assert [e.field for e in refused.value.errors] == ["kind", "step", "warehouse"]
    for step in ("", "dance"):
        with pytest.raises(ValidationFailed) as refused:
            read(stocked, "SKU-1", step=step)
        assert [(e.field, e.code) for e in refused.value.errors] == [("step", "unknown_step")]


def test_a_parcel_that_has_to_be_checked_is_not_packed_by_a_scan(stocked: Shop) -> None:
    run(stocked.engine, lambda c: store.publish(c, ADMIN, {"packing": {"check": "required"}}))
    advance(stocked, placed(stocked, ("SKU-1", 2)), "pick")
    (number,) = numbers(stocked)
    done = read(stocked, number, advance=True)
    assert (done["next"]["step"], done["next"]["needs"], done["advanced"]) == (
        "pack", ["parcels"], None,
    )  # fmt: skip


def test_an_order_number_leads_to_its_parcels(stocked: Shop) -> None:
    order_id = placed(stocked, ("SKU-1", 2), ("SKU-2", 1), allow_split=True)
    code = f"SO-{10_000_000 + order_id}"
    both = read(stocked, code, advance=True)
    assert (both["kind"], len(both["order"]["shipments"])) == ("order", 2)
    assert (both["next"]["needs"], both["advanced"]) == (["shipment"], None)
    mine = read(stocked, code, warehouse="NYC", advance=True)
    assert mine["advanced"] == "pick"
    assert {s["warehouse"]: s["status"] for s in mine["order"]["shipments"]} == {
        "ATL": "allocated", "NYC": "picked",
    }  # fmt: skip


def test_a_tracking_number_leads_to_its_parcel(stocked: Shop) -> None:
    advance(stocked, placed(stocked, ("SKU-1", 2)), "pick", "pack")
    advance(stocked, placed(stocked, ("SKU-1", 2)), "pick", "pack")
    first, second = [row[0] for row in stocked.rows("SELECT id FROM shipments ORDER BY id")]
    from oms_ops.fulfilment import commands, labels

    labels.book(stocked.engine, WORKER, [first], carrier="manual", tracking_numbers={first: "1Z99"})
    assert read(stocked, "1Z99")["next"]["step"] == "ship"
    assert read(stocked, "1Z99", advance=True)["shipment"]["status"] == "shipped"
    run(stocked.engine, lambda c: delivery.fail(c, WORKER, [Failed(first, "nobody home")]))
    failed = read(stocked, "1Z99", advance=True)
    assert (failed["next"]["step"], failed["advanced"]) == ("retry", None)
    run(
        stocked.engine,
        lambda c: commands.ship(c, WORKER, [second], tracking_numbers={second: "1Z99"}),
    )
    with pytest.raises(Conflict) as several:
        read(stocked, "1Z99")
    assert [error.code for error in several.value.errors] == ["tracking", "tracking"]


def test_goods_are_known_by_code_and_barcode_with_where_they_go(stocked: Shop) -> None:
    with stocked.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE skus SET barcode = '4006381333931' WHERE code = 'SKU-1'")
    run(stocked.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A-01", "dry", 1, 12)]))
    everywhere = read(stocked, "4006381333931")
    assert (everywhere["kind"], everywhere["sku"]["code"]) == ("sku", "SKU-1")
    assert everywhere["sku"]["levels"][0]["available"] == 20
    here = read(stocked, "SKU-1", warehouse="ATL", advance=True)
    assert (here["next"]["step"], here["advanced"]) == ("putaway", None)
    assert here["next"]["request"]["body"]["lines"] == [
        {"sku": "SKU-1", "bin": "A-01", "quantity": 12}
    ]
    assert read(stocked, "A-01")["bin"]["units"] == 0
    assert read(stocked, "SKU-3", warehouse="ATL")["next"] is None


def test_a_wave_is_walked_by_scanning_what_is_taken(stocked: Shop) -> None:
    run(stocked.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A-01"), NewBin("A-02")]))
    stocked.stock("SKU-3", 5)
    moves = [BinMove("SKU-1", 9, "A-01"), BinMove("SKU-3", 5, "A-02")]
    run(stocked.engine, lambda c: bin_moves.move(c, WORKER, "ATL", moves))
    placed(stocked, ("SKU-1", 2), ("SKU-3", 1))
    (number,) = numbers(stocked)
    wave = run(stocked.engine, lambda c: waves.open_wave(c, WORKER, "ATL", Limits()))
    inside = read(stocked, number, advance=True)
    assert (inside["next"]["step"], inside["next"]["request"]["body"]) == ("walk", {"code": wave})
    first = read(stocked, wave, advance=True)
    assert (first["advanced"], first["next"]["needs"]) == (None, ["picks"])
    assert [stop["place"] for stop in first["wave"]["open_picks"]] == ["A-01", "A-02"]
    assert read(stocked, "A-02")["bin"]["open_picks"][0]["sku"] == "SKU-3"
    # Of two units, the scan of one does not say that both were there.
    two = read(stocked, "SKU-1", wave=wave, advance=True)
    assert (two["advanced"], two["next"]["request"]) == (None, first["next"]["request"])
    one = read(stocked, "SKU-3", wave=wave, advance=True)
    assert (one["advanced"], one["next"]["request"]) == ("pick", first["next"]["request"])
    found = {int(i): units for i, units in two["next"]["request"]["body"]["picks"].items()}
    run(stocked.engine, lambda c: picking.confirm(c, WORKER, wave, found))
    assert read(stocked, number)["next"]["step"] == "pack"
    assert read(stocked, wave)["wave"]["status"] == "done"


def test_unknown_and_ambiguous_codes_say_what_was_tried(stocked: Shop) -> None:
    with pytest.raises(NotFound) as unknown:
        read(stocked, "NOPE")
    assert [error.code for error in unknown.value.errors] == [f"no_{kind}" for kind in KINDS]
    with stocked.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE skus SET barcode = 'A-01' WHERE code = 'SKU-1'")
    run(stocked.engine, lambda c: bins.create(c, WORKER, "ATL", [NewBin("A-01")]))
    with pytest.raises(Conflict) as several:
        read(stocked, "A-01")
    assert [error.code for error in several.value.errors] == ["sku", "bin"]
    assert read(stocked, "A-01", kind="bin")["kind"] == "bin"
    with pytest.raises(NotFound):
        read(stocked, "A-01", kind="wave")
    with pytest.raises(ValidationFailed):
        read(stocked, " ", kind="box")


def test_another_warehouse_s_parcel_is_not_touched(stocked: Shop) -> None:
    placed(stocked, ("SKU-1", 2))
    (number,) = numbers(stocked)
    with pytest.raises(Conflict) as elsewhere:
        read(stocked, number, warehouse="NYC", advance=True)
    assert "ATL" in elsewhere.value.errors[0].message
    assert stocked.rows("SELECT status FROM shipments")[0][0] == "allocated"


def test_only_those_who_fulfil_scan(stocked: Shop) -> None:
    for role in ("clerk", "support", "analyst"):
        with pytest.raises(Forbidden):
            scan(stocked.engine, Actor("anna", role), Scan("SKU-1"))


def test_a_scan_costs_few_statements(stocked: Shop) -> None:
    placed(stocked, ("SKU-1", 2))
    (number,) = numbers(stocked)
    sent: list[str] = []
    from oms_ops.fulfilment import next_step
    from oms_ops.fulfilment import scan as module

    def counted(connection: Any, statement: str, parameters: Any) -> Any:
        from oms_ops.database import execute

        sent.append(statement)
        return execute(connection, statement, parameters)

    @event.listens_for(stocked.engine, "before_cursor_execute")
    def _count(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "execute", counted)
        patch.setattr(next_step, "execute", counted)
        read(stocked, number)
    assert len([s for s in sent if not s.startswith(("BEGIN", "SET"))]) == 2
