"""Build warehouses with dbt, as the pipeline does, and look into them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from oms_ops.settings import settings
from pipelines.lib import dbt

#: Per mart its rows and how often each is there.
Marts = dict[str, Counter[tuple[Any, ...]]]


@contextmanager
def living_in(home: Path) -> Iterator[None]:
    """Make ``home`` the OMS_HOME of the block."""
    before = os.environ.get("OMS_HOME")
    os.environ["OMS_HOME"] = str(home)
    settings.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMS_HOME"]
        else:
            os.environ["OMS_HOME"] = before
        settings.cache_clear()


def build(
    home: Path, business_date: str, *, full_refresh: bool = False, test_touched: bool = False
) -> None:
    """Build the warehouse of ``home``; every model and data test must succeed."""
    with living_in(home):
        variables = {
            "business_date": business_date,
            "touched_rows": dbt.increments() if test_touched else {},
        }
        results = list(dbt.build(variables, full_refresh=full_refresh))
    wrong = [f"{r.unique_id}: {r.status} {r.message}" for r in results if not r.ok]
    assert not wrong, "\n".join(wrong)
    assert results


def build_half(home: Path, business_date: str, upto: Sequence[str]) -> None:
    """Build only ``upto`` and what comes before, as a build does that is cut off after them."""
    with living_in(home):
        results = list(
            dbt.build({"business_date": business_date}, select=[f"+{name}" for name in upto])
        )
    # Tests across marts may fail: the others are not built.
    assert all(r.ok for r in results if r.kind == "model")


def query(home: Path, statement: str) -> list[tuple[Any, ...]]:
    """Read from the warehouse of ``home``."""
    path = home / "warehouse" / "warehouse.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(statement).fetchall()


def marts(home: Path) -> Marts:
    """Return the rows of every mart, with how often each is there."""
    names = query(
        home, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"
    )
    assert names
    return {name: Counter(query(home, f"SELECT * FROM marts.{name}")) for (name,) in sorted(names)}


def rebuilt_marts(home: Path, business_date: str) -> Marts:
    """Return the marts of a warehouse built from all of the lake at once; keep the one of ``home``.

    It is built in the same home, which spares dbt to parse the project again.
    """
    place, aside = home / "warehouse", home / "warehouse-aside"
    place.rename(aside)
    build(home, business_date, full_refresh=True)
    rebuilt = marts(home)
    shutil.rmtree(place)
    aside.rename(place)
    return rebuilt


def differences(ours: Marts, theirs: Marts) -> dict[str, list[tuple[Any, ...]]]:
    """Return per mart the rows that only one warehouse has; equal marts are left out."""
    assert ours.keys() == theirs.keys()
    found = {}
    for name, rows in ours.items():
        only_ours = [("ours", *row) for row in (rows - theirs[name]).elements()]
        only_theirs = [("theirs", *row) for row in (theirs[name] - rows).elements()]
        if only_ours or only_theirs:
            found[name] = only_ours + only_theirs
    return found


#: What may go wrong in a mart, and the data test that has to see it.
DAMAGE = {
    "DELETE FROM marts.sales_daily": "sales_add_up",
    "DELETE FROM marts.orders_daily": "sales_add_up",
    "UPDATE marts.sales_daily SET net_sales = net_sales + 0.01": "sales_add_up",
    "UPDATE marts.sales_daily SET cost = cost + 1, gross_margin = gross_margin - 1": "sales_add_up",
    "UPDATE marts.orders_daily SET returns = 99, net_sales = net_sales + returns - 99":
        "sales_add_up",
    "UPDATE marts.fct_returns SET refunded_on = NULL": "sales_add_up",
    "DELETE FROM marts.sku_sales_daily": "sales_add_up",
    "UPDATE marts.sku_sales_daily SET returns = returns + 1, net_sales = net_sales - 1":
        "sales_add_up",
    "UPDATE marts.sku_sales_daily SET tax = tax + 1": "sales_add_up",
    "DELETE FROM marts.care_daily": "care_adds_up",
    "UPDATE marts.care_daily SET answered_in_time = answers_judged + 1": "care_adds_up",
    "UPDATE marts.care_daily SET rating_sum = rating_sum + 1": "care_adds_up",
    "DELETE FROM marts.feedback_daily": "care_adds_up",
    "UPDATE marts.feedback_daily SET promoters = promoters + 1": "care_adds_up",
    "UPDATE marts.fct_feedback SET score = score + 1": "care_adds_up",
    "DELETE FROM marts.service_daily": "service_adds_up",
    "UPDATE marts.service_daily SET filled_units = known_units + 1": "service_adds_up",
    "UPDATE marts.service_daily SET perfect_orders = otif_orders + 1": "service_adds_up",
    "UPDATE marts.order_history SET status = 'on_hold'": "versions_follow_each_other",
    "UPDATE marts.order_history SET version = version + 1": "versions_follow_each_other",
    "UPDATE marts.fct_order_lines SET gross_margin = gross_margin + 0.01": "sales_add_up",
    "UPDATE marts.fct_order_lines SET shipped = shipped + 1": "every_unit_is_accounted_for",
    "UPDATE marts.fct_order_lines SET returned = shipped + 1": "every_unit_is_accounted_for",
    "UPDATE staging.stg_stock_levels SET on_hand = on_hand + 1": "stock_adds_up",
    "UPDATE staging.stg_stock_levels SET allocated = on_hand + 1": "stock_adds_up",
    "DELETE FROM staging.stg_stock_levels": "stock_adds_up",
    "DELETE FROM intermediate.int_stock_daily": "stock_adds_up",
    "UPDATE intermediate.int_stock_daily SET received = received + 1": "days_of_stock_add_up",
    "UPDATE intermediate.int_stock_daily SET opening = opening + 1, on_hand = on_hand + 1":
        "days_of_stock_add_up",
    "DELETE FROM intermediate.int_stock_daily WHERE day = DATE '2026-03-01'":
        "days_of_stock_add_up",
}  # fmt: skip


#: What may go wrong in a row of an order, and the test that has to see it: how its name begins, and
#: what it has in it.
ORDER_DAMAGE = {
    "INSERT INTO marts.fct_orders FROM marts.fct_orders WHERE order_id = {order}":
        ("unique_fct_orders", "order_id"),
    # Alike to a row that no build touches.
    "INSERT INTO marts.fct_payments SELECT * REPLACE (0 AS order_id) FROM marts.fct_payments"
    " WHERE order_id = {order}": ("unique_fct_payments", "payment_id"),
    "UPDATE marts.fct_orders SET status = 'odd' WHERE order_id = {order}":
        ("accepted_values_fct_orders", "   status as"),
    "UPDATE marts.order_history SET version = 1 WHERE order_id = {order}":
        ("unique_together_order_history", "version"),
}  # fmt: skip


def unseen_order_damage(home: Path, order: int) -> list[str]:
    """Return the damage to an order that the generic tests compiled last for ``home`` miss."""
    files = list((home / "dbt").rglob("compiled/*/models/**/*.yml/*.sql"))
    unseen = []
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb")) as connection:
        for statement, (name, words) in ORDER_DAMAGE.items():
            texts = [path.read_text() for path in files if path.name.startswith(name)]
            [sql] = [text for text in texts if words in text]
            assert not connection.execute(sql).fetchall()
            connection.execute("BEGIN")
            connection.execute(statement.format(order=order))
            if not connection.execute(sql).fetchall():
                unseen.append(statement)
            connection.execute("ROLLBACK")
    return unseen


def unseen_damage(home: Path) -> list[str]:
    """Return the damage to the warehouse of ``home`` that the data tests compiled for it miss."""
    tests = {path.stem: path.read_text() for path in (home / "dbt").rglob("compiled/*/tests/*.sql")}
    assert set(DAMAGE.values()) == set(tests)
    with duckdb.connect(str(home / "warehouse" / "warehouse.duckdb")) as connection:
        assert [name for name, sql in tests.items() if connection.execute(sql).fetchall()] == []
        unseen = []
        for statement, test in DAMAGE.items():
            connection.execute("BEGIN")
            connection.execute(statement)
            if not connection.execute(tests[test]).fetchall():
                unseen.append(statement)
            connection.execute("ROLLBACK")
    return unseen
