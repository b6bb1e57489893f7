"""The bulk path keeps the single path's promises: the same rules, claims and refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from oms_ops.database import run
from oms_ops.errors import OutOfStock
from oms_ops.orders import bulk
from oms_ops.orders.bulk import BulkResult, capture_many
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from tests.oms_ops.shop import CLERK, Shop, order

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def batch(orders: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the frames of ``orders``: dicts with ``lines`` and what differs from the usual."""
    heads, lines = [], []
    for ref, given_order in enumerate(orders):
        head = {
            "ref": ref,
            "channel": "web",
            "external_id": f"E-{ref}",
            "currency": "USD",
            "email": f"person-{ref % 3}@example.com",
            "customer_name": "Person",
            "customer_external_id": f"P-{ref % 3}",
            "placed_at": NOON + timedelta(minutes=ref),
            "warehouse": "ATL",
            "ship_name": "Person",
            "ship_line1": "1 Main Street",
            "ship_city": "Atlanta",
            "ship_region": "GA",
            "ship_postal_code": "30301",
            "ship_country": "US",
            "shipping_minor": 0,
            "payment_method": "card",
            "allow_backorder": True,
        }
        heads.append({**head, **{k: v for k, v in given_order.items() if k != "lines"}})
        for number, (sku, quantity) in enumerate(given_order["lines"], 1):
            lines.append(
                {"ref": ref, "line_no": number, "sku": sku, "quantity": quantity,
                 "unit_price_minor": 199, "discount_minor": 0}
            )  # fmt: skip
    schema = {"unit_price_minor": pl.Int64, "discount_minor": pl.Int64}
    return pl.DataFrame(heads, infer_schema_length=None), pl.DataFrame(
        lines, schema_overrides=schema, infer_schema_length=None
    )


def captured(shop: Shop, orders: list[dict[str, Any]]) -> BulkResult:
    frames = batch(orders)
    return run(shop.engine, lambda c: capture_many(c, CLERK, *frames))


def test_stock_goes_to_the_earlier_order(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    result = captured(shop, [{"lines": [("SKU-1", 4)]}, {"lines": [("SKU-1", 4), ("SKU-1", 1)]}])
    assert (result.orders, result.lines, result.rejected) == (2, 3, [])
    lines = shop.rows("SELECT allocated, backordered FROM order_lines ORDER BY id")
    assert [tuple(row) for row in lines] == [(4, 0), (1, 3), (0, 1)]
    assert [f for f in reconcile(shop.engine) if f.count] == []


def test_an_order_that_may_not_wait_gives_its_claim_to_the_next(shop: Shop) -> None:
    shop.stock("SKU-1", 5)
    result = captured(
        shop,
        [
            {"lines": [("SKU-1", 6)], "allow_backorder": False},
            {"lines": [("SKU-1", 5)], "allow_backorder": False},
        ],
    )
    assert [(r.external_id, r.errors[0].code) for r in result.rejected] == [("E-0", "out_of_stock")]
    assert shop.level("SKU-1") == (5, 5)


def test_each_bad_order_is_named_and_the_good_ones_are_written(shop: Shop) -> None:
    shop.stock("SKU-1", 50)
    captured(shop, [{"lines": [("SKU-1", 1)]}])
    result = captured(
        shop,
        [
            {"lines": [("SKU-1", 1)]},
            {"lines": [("SKU-1", 0), ("NOPE", 1), ("SKU-5", 1)], "email": "no address"},
            {"lines": [("SKU-1", 1)], "external_id": "E-9", "currency": "EUR"},
            {"lines": [], "external_id": "E-10", "warehouse": "NOWHERE", "ship_postal_code": "x"},
            {"lines": [("SKU-1", 1)], "external_id": "E-11"},
            {"lines": [("SKU-1", 1)], "external_id": "E-11"},
        ],
    )
    assert result.orders == 1
    found = [(r.external_id, sorted((e.field, e.code) for e in r.errors)) for r in result.rejected]
    assert found == [
        ("E-0", [("external_id", "duplicate")]),
        (
            "E-1",
            [
                ("email", "invalid"),
                ("lines[0].quantity", "out_of_range"),
                ("lines[1].sku", "unknown_sku"),
                ("lines[2].sku", "inactive_sku"),
            ],
        ),
        ("E-9", [("currency", "no_price"), ("currency", "not_accepted")]),
        (
            "E-10",
            [
                ("lines", "required"),
                ("ship_postal_code", "invalid"),
                ("warehouse", "unknown_warehouse"),
            ],
        ),
        ("E-11", [("external_id", "duplicate")]),
    ]


_orders = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from(["SKU-1", "SKU-2"]), st.integers(1, 6)),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(_orders)
def test_a_batch_ends_as_the_same_orders_one_by_one(
    sqlite_template: Any, tmp_path_factory: Any, orders: list[Any]
) -> None:
    """Allocated, backordered and refused: the two paths agree on any sequence of orders."""
    import shutil

    from oms_ops.database import make_engine

    def shop() -> Shop:
        path = tmp_path_factory.mktemp("pair") / "oms.db"
        shutil.copyfile(sqlite_template, path)
        made = Shop(make_engine(f"sqlite:///{path}"))
        made.stock("SKU-1", 9)
        made.stock("SKU-2", 9)
        return made

    at_once, one_by_one = shop(), shop()
    given_orders = [{"lines": lines, "allow_backorder": waits} for lines, waits in orders]
    result = captured(at_once, given_orders)
    refused = []
    for number, (lines, waits) in enumerate(orders):
        try:
            body = order(*lines, allow_backorder=waits, warehouse="ATL", external_id=f"E-{number}")
            capture(one_by_one.engine, CLERK, body)
        except OutOfStock:
            refused.append(f"E-{number}")
    assert sorted(r.external_id for r in result.rejected) == sorted(refused)
    query = (
        "SELECT o.external_id, l.line_no, l.allocated, l.backordered FROM order_lines AS l"
        " JOIN orders AS o ON o.id = l.order_id ORDER BY 1, 2"
    )
    assert at_once.rows(query) == one_by_one.rows(query)
    for each in (at_once, one_by_one):
        each.engine.dispose()


def test_a_failure_half_way_leaves_nothing(database: Engine, monkeypatch: Any) -> None:
    shop = Shop(database)
    shop.stock("SKU-1", 5)
    monkeypatch.setattr(bulk.ledger, "allocate_from", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        captured(shop, [{"lines": [("SKU-1", 4)]}])
    assert shop.count("orders") == shop.count("customers") == shop.count("payments") == 0
