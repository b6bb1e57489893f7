"""The bulk path keeps the single path's promises: the same rules, claims and refusals."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from oms_ops.catalog import prices
from oms_ops.catalog.prices import ListedPrice
from oms_ops.database import as_time, make_engine, run
from oms_ops.errors import OutOfStock, ValidationFailed
from oms_ops.money import EXPONENTS
from oms_ops.orders import bulk_writing, cancellation
from oms_ops.orders.bulk import BulkResult, capture_many
from oms_ops.orders.capture import capture
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order

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
        for number, (sku, quantity, *more) in enumerate(given_order["lines"], 1):
            line = {"ref": ref, "line_no": number, "sku": sku, "quantity": quantity,
                    "unit_price_minor": 199, "discount_minor": 0}  # fmt: skip
            lines.append(line | (more[0] if more else {}))
    schema = {"unit_price_minor": pl.Int64, "discount_minor": pl.Int64}
    return pl.DataFrame(heads, infer_schema_length=None), pl.DataFrame(
        lines, schema_overrides=schema, infer_schema_length=None
    )


def captured(shop: Shop, orders: list[dict[str, Any]], *, live: bool = False) -> BulkResult:
    frames = batch(orders)
    return run(shop.engine, lambda c: capture_many(c, CLERK, *frames, live=live))


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
                ("lines[0].quantity", "greater_than"),
                ("lines[1].sku", "unknown_sku"),
                ("lines[2].sku", "inactive_sku"),
            ],
        ),
        ("E-9", [("currency", "no_exchange_rate")]),
        (
            "E-10",
            [
                ("lines", "required"),
                ("ship_postal_code", "invalid_postal_code"),
                ("warehouse", "unknown_warehouse"),
            ],
        ),
        ("E-11", [("external_id", "duplicate")]),
    ]


def test_a_failure_half_way_leaves_nothing(database: Engine, monkeypatch: Any) -> None:
    shop = Shop(database)
    shop.stock("SKU-1", 5)
    monkeypatch.setattr(bulk_writing.ledger, "allocate_from", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        captured(shop, [{"lines": [("SKU-1", 4)]}])
    assert shop.count("orders") == shop.count("customers") == shop.count("payments") == 0


RULES = {
    "base_currency": "USD",
    "exchange_rates": {"EUR": "1.10"},
    "cash_rounding": {"USD": 5},
    "taxes": [
        {"percent": "0", "categories": ["food"]},
        {"percent": "8.9", "places": ["US-GA"], "categories": ["standard"]},
        {"percent": "4", "categories": ["shipping"]},
    ],
    "shipping": [
        {"name": "free", "currency": "USD", "charge": "0", "min_net": "20"},
        {"name": "usual", "currency": "USD", "charge": "4.90", "per_kilogram": "1"},
        {"name": "abroad", "currency": "EUR", "charge": "7"},
    ],
    "delivery": [
        {"handling_days": 0, "transit_days": 1, "places": ["US-NY"], "channels": ["web"]},
        {"handling_days": 1, "transit_days": 3},
    ],
    "channels": {"web": {"reserve_units": 2}, "shop": {}},
    "holds": [{"code": "large_order", "total_above": "50"}],
}


def ruled(shop: Shop, **changes: Any) -> None:
    """Put the rules, a price list with a quantity break, and some SKU terms in force."""

    def work(connection: Any) -> None:
        store.publish(connection, ADMIN, {**RULES, **changes})
        prices.put_list(connection, ADMIN, "SPRING", name="Spring", currency="USD")
        listed = [ListedPrice("SKU-2", Decimal("3.50")), ListedPrice("SKU-2", Decimal("3.1"), 10)]
        prices.set_prices(connection, ADMIN, "SPRING", listed)
        prices.put_list(
            connection, ADMIN, "TRADE", name="Trade", currency="USD", customer_group="trade"
        )
        prices.set_prices(connection, ADMIN, "TRADE", [ListedPrice("SKU-2", Decimal("2"))])
        for statement in (
            "UPDATE skus SET weight_grams = 700 WHERE code = 'SKU-1'",
            "UPDATE skus SET tax_category = 'food' WHERE code = 'SKU-3'",
            "UPDATE skus SET min_quantity = 2, quantity_multiple = 2, max_quantity = 6,"
            " channels = '[\"shop\"]' WHERE code = 'SKU-4'",
        ):
            connection.execute(sa.text(statement))

    run(shop.engine, work)


BY_RULE = {"unit_price_minor": None}
_MONEY = (
    "SELECT o.gross_minor, o.discount_minor, o.shipping_minor, o.shipping_tax_minor, o.tax_minor,"
    " o.rounding_minor, o.total_minor, o.tax_included, o.exchange_rate, o.base_currency,"
    " o.rules_id, w.code, o.promised_on, o.delivery_days, o.deliver_by, l.line_no,"
    " l.unit_price_minor, l.price_source,"
    " l.discount_minor, l.rounding_minor, l.net_minor, l.tax_minor, l.tax_rate_ppm, l.allocated,"
    " l.backordered, l.promised_on FROM orders AS o JOIN order_lines AS l ON l.order_id = o.id"
    " JOIN warehouses AS w ON w.id = o.warehouse_id"
)
MONEY = f"{_MONEY} WHERE o.external_id = :external_id ORDER BY l.line_no"
ALL_MONEY = f"{_MONEY} ORDER BY o.external_id, l.line_no"


@pytest.mark.parametrize(
    ("head", "lines", "single"),
    [
        ({}, [("SKU-1", 3, BY_RULE), ("SKU-2", 4, BY_RULE), ("SKU-3", 1, BY_RULE)], {}),
        ({}, [("SKU-2", 12, BY_RULE)], {}),
        ({"email": "trade@example.com"}, [("SKU-2", 12, BY_RULE)], {}),
        ({"payment_method": "cash"}, [("SKU-1", 1, BY_RULE)], {"payment": {"method": "cash"}}),
        ({"ship_region": "NY", "ship_postal_code": "10001"}, [("SKU-1", 2, BY_RULE)],
         {"ship_to": {"region": "NY", "postal_code": "10001"}}),
        ({"tax_included": True}, [("SKU-1", 7, BY_RULE), ("SKU-1", 1, BY_RULE)],
         {"tax_included": True}),
        ({"currency": "EUR"}, [("SKU-1", 2, BY_RULE)], {"currency": "EUR"}),
        ({"shipping_minor": 123}, [("SKU-1", 2, BY_RULE)], {"shipping": "1.23"}),
        ({}, [("SKU-1", 2, {**BY_RULE, "discount_minor": 50})],
         {"lines": [{"sku": "SKU-1", "quantity": 2, "discount": "0.50"}]}),
        ({"shipping_minor": 100, "shipping_tax_minor": 7},
         [("SKU-1", 3, {"unit_price_minor": 167, "rounding_minor": -1, "tax_minor": 41})],
         {"shipping": "1", "shipping_tax": "0.07",
          "lines": [{"sku": "SKU-1", "quantity": 3, "unit_price": "1.67", "amount": "5.00",
                     "tax": "0.41"}]}),
        ({}, [("SKU-3", 9, BY_RULE)], {}),
    ],
)  # fmt: skip
def test_what_a_batch_leaves_to_the_rules_is_what_a_single_capture_makes_of_it(
    shop: Shop, head: dict[str, Any], lines: list[Any], single: dict[str, Any]
) -> None:
    """Prices, breaks, taxes, shipping, cash, exchange, routing and promises: the same rows."""
    ruled(shop)
    run(
        shop.engine,
        lambda c: c.execute(
            sa.text(
                "INSERT INTO customers (email, name, customer_group, created_at, changed_by,"
                " changed_at) VALUES ('trade@example.com', 'T', 'trade', :now, 'x', :now)"
            ),
            {"now": as_time(c, NOON)},
        ),
    )
    for sku in ("SKU-1", "SKU-2", "SKU-3"):
        shop.stock(sku, 7, "NYC")
    shop.stock("SKU-2", 50)
    by_rule = {"shipping_minor": None, "warehouse": None, "channel": "web"}
    result = captured(shop, [{**by_rule, "lines": lines, **head, "external_id": "BULK"}])
    assert result.rejected == []
    many = shop.rows(MONEY, external_id="BULK")
    run(shop.engine, lambda c: cancellation.cancel(c, ADMIN, [1], "to try again"))
    body = order(*((sku, quantity) for sku, quantity, *_ in lines), external_id="ONE",
                 allow_backorder=True, placed_at=NOON.isoformat())  # fmt: skip
    body |= {**single, "ship_to": {**body["ship_to"], **single.get("ship_to", {})}}
    if "email" in head:
        body["customer"] = {"email": head["email"], "name": "T"}
    capture(shop.engine, CLERK, body)
    assert many == shop.rows(MONEY, external_id="ONE")
    assert [f for f in reconcile(shop.engine) if f.count] == []


#: Where a single capture has the columns of the frames.
SINGLE = {
    "customer_name": "customer.name", "customer_phone": "customer.phone", "email": "customer.email",
    "payment_method": "payment.method",
    **{f"ship_{name}": f"ship_to.{name}" for name in (
        "name", "line1", "line2", "city", "region", "postal_code", "country", "phone")},
}  # fmt: skip


def as_submission(head: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a row of each frame says, as a single capture takes it; none is not given."""

    digits = EXPONENTS.get(head["currency"], 2)

    def stated(row: dict[str, Any], *names: str) -> dict[str, Any]:
        return {
            name: Decimal(row[f"{name}_minor"]).scaleb(-digits)
            for name in names
            if row.get(f"{name}_minor") is not None
        }

    body: dict[str, Any] = {"ship_to": {}, "customer": {}, "payment": {}}
    body |= stated(head, "shipping", "shipping_tax", "expected_total")
    skipped = ("ref", "customer_external_id")
    for name, value in head.items():
        if value is None or name.endswith("_minor") or name in skipped:
            continue
        target, _, field = SINGLE.get(name, name).rpartition(".")
        (body[target] if target else body)[field] = value
    lines = []
    for row in rows:
        line = {name: row[name] for name in ("sku", "quantity") if row[name] is not None}
        line |= stated(row, "unit_price", "expected_unit_price", "discount", "tax")
        if row.get("rounding_minor"):
            amount = row["quantity"] * row["unit_price_minor"] + row["rounding_minor"]
            line["amount"] = Decimal(amount).scaleb(-digits)
        lines.append(line)
    return {**body, "lines": lines, "payment": body["payment"] or None}


#: Orders that are refused for one reason each: what differs of the head, the line.
REFUSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"sku": "SKU-4", "quantity": 2}),
    ({"channel": "shop"}, {"sku": "SKU-4", "quantity": 1}),
    ({"channel": "shop"}, {"sku": "SKU-4", "quantity": 3}),
    ({"channel": "shop"}, {"sku": "SKU-4", "quantity": 8}),
    ({"channel": "elsewhere"}, {}),
    ({"currency": "JPY"}, {}),
    ({"currency": "XXX"}, {}),
    ({"currency": None}, {}),
    ({"ship_region": "Atlantis"}, {}),
    ({"ship_region": None}, {}),
    ({"ship_postal_code": "1"}, {}),
    ({"ship_country": "ZZ"}, {}),
    ({"ship_country": None}, {}),
    ({"ship_city": "c" * 201}, {}),
    ({"ship_line1": None}, {}),
    ({"ship_city": None}, {}),
    ({"ship_country": "DE", "ship_region": None, "ship_postal_code": "10115", "ship_city": None},
     {}),
    ({"ship_line2": "a\0b"}, {}),
    ({"customer_phone": "12"}, {}),
    ({"customer_phone": "555 0123"}, {}),
    ({"ship_phone": "5" * 41}, {}),
    ({"customer_name": "n" * 201}, {}),
    ({"customer_name": None}, {}),
    ({"email": "a@b.invalid"}, {}),
    ({"email": None}, {}),
    ({"note": "n" * 2001}, {}),
    ({"placed_at": datetime(2036, 1, 1, tzinfo=UTC)}, {}),
    ({"payment_method": "shells"}, {}),
    ({"warehouse": "NOWHERE"}, {}),
    ({"shipping_minor": -1}, {}),
    ({"shipping_minor": 1_000_000_001}, {}),
    ({"shipping_tax_minor": -1}, {}),
    ({"expected_total_minor": 198}, {}),
    ({"expected_total_minor": -1}, {}),
    ({}, {"sku": "NOPE"}),
    ({}, {"sku": "SKU-5"}),
    ({}, {"sku": None}),
    ({}, {"quantity": 0}),
    ({}, {"quantity": None}),
    ({}, {"quantity": 1_000_001}),
    ({}, {"quantity": 1_000_000, "unit_price_minor": 1_000_000}),
    ({}, {"unit_price_minor": -1}),
    ({}, {"unit_price_minor": 1_000_000_001}),
    ({}, {"unit_price_minor": None, "expected_unit_price_minor": 198}),
    ({}, {"rounding_minor": -200}),
    ({}, {"rounding_minor": -2}),
    ({"tax_included": True}, {"tax_minor": 200}),
    ({"tax_included": True, "shipping_tax_minor": 1}, {}),
    ({}, {"expected_unit_price_minor": 198}),
    # One fault hides no other.
    ({"customer_phone": "12", "warehouse": "NOWHERE", "expected_total_minor": 198},
     {"expected_unit_price_minor": 198}),
    ({}, {"tax_minor": -1}),
    ({}, {"discount_minor": -1}),
    ({}, {"discount_minor": 200}),
    ({}, {"unit_price_minor": None, "discount_minor": 200}),
]  # fmt: skip


def test_a_batch_refuses_by_the_codes_of_a_single_capture(shop: Shop) -> None:
    ruled(shop)
    for sku in ("SKU-1", "SKU-4"):
        shop.stock(sku, 100)
    cases = [
        {**head, "lines": [("SKU-1", 1, line)], "external_id": f"E-{number}"}
        for number, (head, line) in enumerate(REFUSED)
    ]
    frames = batch([{"shipping_minor": 0, **case} for case in cases])
    result = run(shop.engine, lambda c: capture_many(c, CLERK, *frames, live=True))
    found = {r.ref: {(e.field, e.code) for e in r.errors} for r in result.rejected}
    rows = frames[1].rows_by_key("ref", named=True)
    for head in frames[0].iter_rows(named=True):
        with pytest.raises(ValidationFailed) as refused:
            capture(shop.engine, CLERK, as_submission(head, rows[head["ref"]]))
        codes = {(e.field, e.code) for e in refused.value.errors}
        named = {(SINGLE.get(field, field), code) for field, code in found.get(head["ref"], ())}
        assert named == codes, REFUSED[head["ref"]]
    assert result.orders == shop.count("orders") == 0


_line = st.tuples(
    st.sampled_from(["SKU-1", "SKU-2"]),
    st.integers(1, 6),
    # The price is the caller's, the shop's, or the shop's if it is what the caller expects.
    st.sampled_from([{}, BY_RULE, {**BY_RULE, "expected_unit_price_minor": 199}]),
)
_head = st.fixed_dictionaries(
    {
        "allow_backorder": st.booleans(),
        # Their reserves differ: what one leaves is there for the other.
        "channel": st.sampled_from(["web", "shop"]),
        "warehouse": st.sampled_from(["ATL", "NYC", None]),
        "shipping_minor": st.sampled_from([0, None]),
        "payment_method": st.sampled_from(["cash", "card"]),
        "ship_region": st.sampled_from(["GA", "NY", "Georgia", "us-ny"]),
        "customer_name": st.sampled_from(["Person", "Ann"]),
        "customer_phone": st.sampled_from([None, "4045550100", "4045550123"]),
        "ship_postal_code": st.none(),
        "lines": st.lists(_line, min_size=1, max_size=3),
    }
).map(
    lambda head: {
        **head,
        "ship_postal_code": "30301" if head["ship_region"].startswith("G") else "10001",
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(orders=st.lists(_head, min_size=1, max_size=8))
def test_a_batch_ends_as_the_same_orders_one_by_one(
    sqlite_template: Any, tmp_path_factory: Any, orders: list[Any]
) -> None:
    """Refused, allocated, backordered, priced, routed, held: the paths agree on any sequence."""

    def shop() -> Shop:
        path = tmp_path_factory.mktemp("pair") / "oms.db"
        shutil.copyfile(sqlite_template, path)
        made = Shop(make_engine(f"sqlite:///{path}"))
        ruled(made)
        for sku, warehouse, units in (
            ("SKU-1", "ATL", 9),
            ("SKU-2", "ATL", 4),
            ("SKU-1", "NYC", 5),
        ):
            made.stock(sku, units, warehouse)
        return made

    at_once, one_by_one = shop(), shop()
    frames = batch(orders)
    result = run(at_once.engine, lambda c: capture_many(c, CLERK, *frames, live=True))
    rows = frames[1].rows_by_key("ref", named=True)
    refused = {}
    for head in frames[0].iter_rows(named=True):
        try:
            capture(one_by_one.engine, CLERK, as_submission(head, rows[head["ref"]]))
        except (OutOfStock, ValidationFailed) as error:
            refused[head["ref"]] = {(e.field, e.code) for e in error.errors}
    assert {r.ref: {(e.field, e.code) for e in r.errors} for r in result.rejected} == refused
    for query in (
        ALL_MONEY,
        "SELECT external_id, status, hold_reason FROM orders ORDER BY external_id",
        "SELECT warehouse_id, sku_id, on_hand, allocated FROM stock_levels ORDER BY 1, 2",
        "SELECT name, phone, email FROM customers ORDER BY email",
        "SELECT external_id, contact_name, contact_phone, ship_region FROM orders ORDER BY 1",
        "SELECT recipient, payload -> '$.total' FROM outbox_messages ORDER BY 1, 2",
    ):
        assert at_once.rows(query) == one_by_one.rows(query)
    routes = "SELECT external_id, routing FROM orders ORDER BY external_id"
    for many, one in zip(at_once.rows(routes), one_by_one.rows(routes), strict=True):
        if json.loads(many.routing)["rule"] != "given":
            assert json.loads(many.routing) == json.loads(one.routing)
    for each in (at_once, one_by_one):
        each.engine.dispose()


def test_only_a_live_batch_tells_the_customers_and_obeys_the_hold_rules(shop: Shop) -> None:
    ruled(shop)
    shop.stock("SKU-1", 500)
    wanted = [
        {"lines": [("SKU-1", 200)]},
        {"lines": [("SKU-1", 1)], "customer_phone": "4045550123"},
    ]
    assert captured(shop, wanted).orders == 2
    assert shop.count("outbox_messages") == 0
    assert {row[0] for row in shop.rows("SELECT status FROM orders")} == {"open"}
    again = [{**each, "external_id": f"L-{n}"} for n, each in enumerate(wanted)]
    assert captured(shop, again, live=True).orders == 2
    rows = shop.rows(
        "SELECT external_id, status, hold_reason FROM orders WHERE external_id LIKE 'L-%'"
        " ORDER BY external_id"
    )
    assert [tuple(row) for row in rows] == [
        ("L-0", "on_hold", "rule: large_order"), ("L-1", "open", None),
    ]  # fmt: skip
    told = shop.rows("SELECT kind, recipient, payload FROM outbox_messages ORDER BY id")
    assert [(row.kind, row.recipient) for row in told] == [
        ("order.confirmed", "person-0@example.com"), ("order.confirmed", "person-1@example.com"),
    ]  # fmt: skip
    assert shop.rows("SELECT phone FROM customers WHERE email LIKE 'person-1%'")[0][0] == (
        "+14045550123"
    )
    assert [f for f in reconcile(shop.engine) if f.count] == []
