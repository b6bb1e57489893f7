"""Promises 2, 4, 7 and 9: one submission one order, totals that add up, one clear refusal."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from oms_ops.database import run
from oms_ops.errors import Conflict, KeyReused, OutOfStock, ValidationFailed
from oms_ops.orders.capture import capture
from tests.oms_ops.shop import CLERK, Shop, order


def test_an_order_is_allocated_and_adds_up(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    shop.stock("SKU-2", 10)
    answer = capture(
        shop.engine, CLERK, order(("SKU-1", 3), ("SKU-2", 2), discount="1.00", shipping="4.99")
    )
    assert answer["status"] == "open"
    assert answer["payment_status"] == "unpaid"
    assert answer["fulfilment_status"] == "allocated"
    assert answer["totals"]["gross"] == "13.93"
    assert answer["totals"]["total"] == "17.92"
    # 1.00 over nets of 5.97 and 7.96: 42.86 and 57.14 cents, the remainder to the larger rest.
    assert [line["discount"] for line in answer["lines"]] == ["0.43", "0.57"]
    assert shop.level("SKU-1") == (10, 3)
    assert shop.count("outbox_messages") == 1


def test_two_lines_of_one_sku_share_one_level(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    with pytest.raises(OutOfStock) as refusal:
        capture(shop.engine, CLERK, order(("SKU-1", 3), ("SKU-1", 3)))
    assert [e.field for e in refusal.value.errors] == ["lines[1].quantity"]
    capture(shop.engine, CLERK, order(("SKU-1", 3), ("SKU-1", 2)))
    assert shop.level("SKU-1") == (5, 5)


def test_every_bad_field_is_named_and_nothing_is_written(shop: Shop) -> None:
    bad = order(("SKU-1", 0), ("NOPE", 1), ("SKU-5", 1), shipping="-1")
    bad["customer"]["email"] = "not an address"
    bad["ship_to"]["postal_code"] = "ABC"
    bad["currency"] = "XXX"
    with pytest.raises(ValidationFailed) as refusal:
        capture(shop.engine, CLERK, bad)
    assert {error.field for error in refusal.value.errors} == {
        "lines[0].quantity",
        "lines[1].sku",
        "lines[2].sku",
        "shipping",
        "customer.email",
        "ship_to.postal_code",
        "currency",
    }
    assert {e.code for e in refusal.value.errors} >= {"unknown_sku", "inactive_sku"}
    assert shop.count("orders") == shop.count("customers") == shop.count("outbox_messages") == 0


@pytest.mark.parametrize("body", [None, [], "x", 5, {}, {"lines": [5]}, {"lines": [{"sku": None}]}])
def test_any_json_gets_a_refusal_and_no_crash(shop: Shop, body: object) -> None:
    with pytest.raises(ValidationFailed):
        capture(shop.engine, CLERK, body)


def test_what_is_short_is_backordered_only_if_allowed(shop: Shop) -> None:
    shop.stock("SKU-1", 4)
    with pytest.raises(OutOfStock):
        capture(shop.engine, CLERK, order(("SKU-1", 6)))
    answer = capture(shop.engine, CLERK, order(("SKU-1", 6), allow_backorder=True))
    assert (answer["lines"][0]["allocated"], answer["lines"][0]["backordered"]) == (4, 2)
    assert answer["fulfilment_status"] == "backordered"
    assert shop.level("SKU-1") == (4, 4)


def test_an_order_is_split_only_if_allowed(shop: Shop) -> None:
    shop.stock("SKU-1", 3, "ATL")
    shop.stock("SKU-1", 3, "NYC")
    with pytest.raises(OutOfStock):
        capture(shop.engine, CLERK, order(("SKU-1", 5)))
    answer = capture(shop.engine, CLERK, order(("SKU-1", 5), allow_split=True))
    assert answer["routing"]["rule"] == "fill"
    assert answer["routing"]["split"] == {"ATL": 3, "NYC": 2}
    assert shop.level("SKU-1", "ATL") == (3, 3)
    assert shop.level("SKU-1", "NYC") == (3, 2)
    assert shop.count("shipments") == 2


def test_a_repeat_gets_the_first_answer_and_another_body_is_refused(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    first = capture(shop.engine, CLERK, order(("SKU-1", 2)), idempotency_key="k")
    assert capture(shop.engine, CLERK, order(("SKU-1", 2)), idempotency_key="k") == first
    with pytest.raises(KeyReused):
        capture(shop.engine, CLERK, order(("SKU-1", 3)), idempotency_key="k")
    assert shop.count("orders") == 1
    assert shop.level("SKU-1") == (10, 2)


def test_concurrent_repeats_make_one_order(shop: Shop) -> None:
    shop.stock("SKU-1", 100)
    body = order(("SKU-1", 2), external_id="W-1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: capture(shop.engine, CLERK, body, idempotency_key="k"), range(16))
        )
    assert len({answer["number"] for answer in answers}) == 1
    assert shop.count("orders") == 1
    assert shop.level("SKU-1") == (100, 2)


def test_a_failure_before_the_commit_does_not_wedge_the_key(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    # The last step of the write breaks a rule of the database, so nothing before it may stay.
    with pytest.raises(IntegrityError), _refusing_to_allocate(shop):
        capture(shop.engine, CLERK, order(("SKU-1", 2)), idempotency_key="k")
    assert shop.count("orders") == shop.count("idempotency_keys") == 0
    assert capture(shop.engine, CLERK, order(("SKU-1", 2)), idempotency_key="k")["number"]


@contextmanager
def _refusing_to_allocate(shop: Shop) -> Iterator[None]:
    def run_all(*statements: str) -> None:
        run(shop.engine, lambda c: [c.exec_driver_sql(each) for each in statements])

    when = "BEFORE UPDATE OF allocated ON stock_levels"
    if shop.engine.dialect.name == "sqlite":
        run_all(f"CREATE TRIGGER refuse {when} BEGIN SELECT RAISE(ABORT, 'refused'); END")
    else:
        run_all(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'refused' USING ERRCODE = 'integrity_constraint_violation'; END $$",
            f"CREATE TRIGGER refuse {when} FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
    try:
        yield
    finally:
        run_all("DROP TRIGGER refuse" + ("" if shop.engine.dialect.name == "sqlite"
                                         else " ON stock_levels"))  # fmt: skip


def test_the_same_external_id_is_refused_by_name(shop: Shop) -> None:
    shop.stock("SKU-1", 10)
    first = capture(shop.engine, CLERK, order(("SKU-1", 1), external_id="W-1"))
    with pytest.raises(Conflict, match=first["number"]):
        capture(shop.engine, CLERK, order(("SKU-1", 1), external_id="W-1"))
    assert shop.count("orders") == 1


def test_the_key_belongs_to_its_caller(database: Engine) -> None:
    shop = Shop(database)
    shop.stock("SKU-1", 10)
    from oms_ops.access.actor import Actor

    one = capture(database, CLERK, order(("SKU-1", 1)), idempotency_key="k")
    other = capture(database, Actor("otto", "clerk"), order(("SKU-1", 2)), idempotency_key="k")
    assert one["number"] != other["number"]
