"""What an order costs is the same in the ledger and in the marts: currencies, taxes, parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.database import reading, run
from oms_ops.money import EXPONENTS
from oms_ops.orders import cancellation
from oms_ops.orders.amounts import kept
from oms_ops.orders.capture import capture
from oms_ops.orders.units import CancelledUnits
from oms_ops.returns import goods, requests
from oms_ops.returns.requests import Asked
from oms_ops.rules import store
from oms_ops.stock import quarantine
from oms_ops.stock.quarantine import Suspect
from pipelines.lib import landing, reconcile
from pipelines.lib.dbt import DBT_PROJECT
from tests.dbt.trade import Trade, moment
from tests.dbt.warehouse import build, query
from tests.oms_ops.picking import put, with_bins
from tests.oms_ops.shop import ADMIN, order

RULES: dict[str, Any] = {
    "exchange_rates": {"EUR": "1.1", "JPY": "0.00651", "KWD": "3.2505"},
    "cash_rounding": {"EUR": 5},
    "taxes": [{"percent": "8.875"}],
    "shipping": [
        {"name": "EUR", "currency": "EUR", "charge": "4.90"},
        {"name": "JPY", "currency": "JPY", "charge": "333"},
    ],
}


def test_several_currencies_taxes_and_parts_reconcile_to_the_cent(
    database: Engine, tmp_path: Path
) -> None:
    trade = Trade(database)
    run(database, lambda c: store.publish(c, ADMIN, RULES))
    sold = [
        _sell(database, currency, price, included, method)
        for currency, price in (("USD", "3.33"), ("EUR", "7.77"), ("JPY", "1001"), ("KWD", "1.115"))
        for included in (False, True)
        for method in ("cash", "card")
    ]
    for order_id in sold[::2]:
        trade.pay("2026-03-01", order_id)
    for order_id in sold[:-2]:
        units = [CancelledUnits(order_id, 1, 1)]
        run(database, lambda c, units=units: cancellation.cancel_units(c, ADMIN, units, "less"))
    for order_id in sold[::4]:
        trade.dispatch("2026-03-02", order_id)
        trade.send_back("2026-03-03", order_id, 1)
    # What nobody paid comes back, too.
    for order_id in sold[1::4]:
        trade.dispatch("2026-03-02", order_id)
        trade.send_back("2026-03-03", order_id, 1)
    # One is only asked for, one waits to be inspected.
    for order_id, received in ((sold[0], False), (sold[4], True)):
        with clock.at(moment("2026-03-03")):
            asked = run(
                database,
                lambda c, i=order_id: requests.request(c, ADMIN, i, [Asked(2, 1, "damaged")]),
            )
            if received:
                run(database, lambda c, i=asked: goods.receive(c, ADMIN, i))
    # Goods in bins are on hand; what is set aside is not.
    with clock.at(moment("2026-03-02")):
        put(with_bins(trade.shop), ("SKU-3", 5, "A"))
        run(database, lambda c: quarantine.put_in(c, ADMIN, "ATL", [Suspect("SKU-3", 2, "A")]))
    home = tmp_path / "home"
    landed = landing.land(database, home / "lake" / "changes")
    build(home, "2026-03-04")
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb")) as warehouse:
        lines = reconcile.compare(warehouse, landed.horizon.totals, "USD")
    assert [str(line) for line in lines if line.difference] == []
    level = "SELECT on_hand FROM marts.inventory_health WHERE sku = 'SKU-3' AND warehouse = 'ATL'"
    assert query(home, level) == [(trade.shop.level("SKU-3")[0],)] == [(43,)]
    for currency, amount in query(
        home, "SELECT currency, min(order_total) FROM marts.fct_orders GROUP BY currency"
    ):
        # Nothing is off by a currency's decimal places.
        assert 1 < amount < 60, (currency, amount)
    _statuses_agree(database, home)


def _sell(database: Engine, currency: str, price: str, included: bool, method: str) -> int:
    lines = [
        {"sku": "SKU-1", "quantity": 3, "unit_price": price, "discount_percent": "7.5"},
        {"sku": "SKU-2", "quantity": 1, "unit_price": price},
    ]
    wanted = order(
        currency=currency, lines=lines, tax_included=included, payment={"method": method},
        allow_backorder=True,
    )  # fmt: skip
    number = capture(database, ADMIN, wanted)["number"]
    return int(number.removeprefix("SO-")) - 10_000_000


def _statuses_agree(database: Engine, home: Path) -> None:
    from oms_ops.orders import queries

    with reading(database) as connection:
        page, _ = queries.listing(connection, ADMIN, before=0, limit=100, status=None)
    shown = {row["number"]: row["payment_status"] for row in page}
    found = dict(query(home, "SELECT order_number, payment_status FROM marts.fct_orders"))
    assert found == shown


@given(
    st.lists(
        st.tuples(st.integers(-(10**6), 10**9), st.integers(1, 1000), st.integers(0, 1000)),
        min_size=1,
    )
)
@settings(max_examples=30, deadline=None)
def test_a_share_is_the_same_in_the_marts_as_in_the_orders(
    parts: list[tuple[int, int, int]],
) -> None:
    cases = [(amount, whole, min(units, whole)) for amount, whole, units in parts]
    rows = ", ".join(f"({a}::BIGINT, {w}::BIGINT, {u}::BIGINT)" for a, w, u in cases)
    share = _rendered("share_of", "amount", "units", "whole")
    found = duckdb.sql(f"SELECT {share} FROM (VALUES {rows}) AS c(amount, whole, units)")
    assert [row[0] for row in found.fetchall()] == [kept(a, w, u) for a, w, u in cases]


def _rendered(macro: str, *arguments: str) -> str:
    """Return what a macro of the project that needs nothing of dbt writes."""
    import jinja2

    text = (DBT_PROJECT / "macros" / "shop.sql").read_text(encoding="utf-8")
    body = text[text.index("{% macro share_of") : text.index("{#-\n    Minor units of an order")]
    template = jinja2.Environment(autoescape=False).from_string(body)
    return str(getattr(template.module, macro)(*arguments))


@pytest.mark.parametrize("text", ["marts", "ledger"])
def test_every_currency_has_its_decimal_places(text: str) -> None:
    """Where SQL knows the exceptions to two places, it knows those that money has."""
    from pipelines.lib import ledger

    macros = (DBT_PROJECT / "macros" / "shop.sql").read_text(encoding="utf-8")
    source = macros if text == "marts" else ledger.base("1")
    odd = {currency for currency, places in EXPONENTS.items() if places != 2}
    assert {currency for currency in EXPONENTS if f"'{currency}'" in source} == odd
