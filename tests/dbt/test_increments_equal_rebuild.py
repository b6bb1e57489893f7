"""The warehouse can be rebuilt from the lake alone, and increments give the same marts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl

from oms_ops.database import make_engine
from pipelines.lib import lake, landing
from tests.dbt.trade import Trade, changed_days, first_days, last_days
from tests.dbt.warehouse import (
    ORDER_DAMAGE,
    build,
    build_half,
    differences,
    marts,
    query,
    rebuilt_marts,
    unseen_damage,
    unseen_order_damage,
)

#: Marts after which a build is cut off.
HALF = ("fct_order_lines", "fct_returns", "care_daily", "feedback_daily")


def repeat_the_past(folder: Path) -> None:
    """Land the newest changes twice, and with them the oldest, without what came between."""
    files = lake.landed(folder)
    again = pl.concat([pl.read_parquet(file.path) for file in (files[0], files[-1])])
    again.write_parquet(folder / lake.file_name(files[-2].after, files[-1].upto))


def test_increments_give_the_marts_that_a_rebuild_gives(sqlite_url: str, tmp_path: Path) -> None:
    engine = make_engine(sqlite_url)
    home = tmp_path / "increments"
    folder = home / "lake" / "changes"
    trade = Trade(engine)
    sold = first_days(trade)
    landing.land(engine, folder)
    build(home, "2026-03-02")
    orders = query(home, "SELECT count(*) FROM marts.fct_orders")[0][0]
    assert orders == len(sold)
    # Data tests that see nothing would let both warehouses be wrong alike.
    assert unseen_damage(home) == []

    changed_days(trade, sold)
    landing.land(engine, folder)
    # A build that stops half way is done again as if it had never begun.
    build_half(home, "2026-03-04", [*HALF])
    build(home, "2026-03-04", test_touched=True)
    assert query(home, "SELECT count(*) FROM marts.fct_orders")[0][0] == orders

    last_days(trade, sold)
    landing.land(engine, folder)
    repeat_the_past(folder)
    build(home, "2026-03-06", test_touched=True)
    other = _an_order_that_the_tests_left_alone(home)
    assert differences(marts(home), rebuilt_marts(home, "2026-03-06")) == {}
    _everything_was_there_to_differ(home)
    assert query(home, "SELECT count(*) FROM intermediate.int_touched_orders")[0][0] < orders
    # The rebuild had them look at everything.
    assert unseen_order_damage(home, other) == []
    engine.dispose()


def _an_order_that_the_tests_left_alone(home: Path) -> int:
    """Tests of what a build touched see all that may be wrong with that, and nothing else."""
    assert unseen_damage(home) == []
    changed = "SELECT min(order_id) FROM marts.order_history WHERE version > 1 AND order_id"
    touched = "IN (SELECT order_id FROM intermediate.int_touched_orders)"
    [(mine,)] = query(home, f"{changed} {touched}")
    [(other,)] = query(home, f"{changed} NOT {touched}")
    assert unseen_order_damage(home, mine) == []
    assert unseen_order_damage(home, other) == list(ORDER_DAMAGE)
    return int(other)


def _everything_was_there_to_differ(home: Path) -> None:
    """Marts without a row, or without what changed late, would be equal whatever the models do."""
    empty = [name for name, rows in marts(home).items() if not rows]
    assert empty == []
    # It became late by the days alone.
    assert query(home, "SELECT sum(due_orders - otif_orders) FROM marts.service_daily") == [(2,)]
    assert query(home, "SELECT sum(short_units) FROM marts.fct_shipments") == [(1,)]
    # Its answer is late by the days alone, too; others were answered late, or not at all.
    late = "SELECT topic FROM marts.fct_tickets WHERE NOT is_answered_in_time ORDER BY topic"
    assert query(home, late) == [("other",), ("payment",), ("product",)]
    assert query(home, "SELECT sum(customer_messages) FROM marts.fct_tickets") == [(6,)]
    assert query(home, "SELECT day, promoters FROM marts.feedback_daily ORDER BY day") == [
        (date(2026, 3, 2), 1), (date(2026, 3, 4), 1)
    ]  # fmt: skip
    assert query(home, "SELECT sum(goodwill) FROM marts.fct_refunds") == [(Decimal("0.10"),)]
    assert query(
        home, "SELECT failures, failure_code FROM marts.fct_payments WHERE failures > 0"
    ) == [(1, "expired")]
    assert query(home, "SELECT sum(failures) FROM marts.payments_daily") == [(1,)]
    assert query(
        home, "SELECT count(*) FROM marts.sku_history WHERE sku = 'SKU-2' AND version = 2"
    ) == [(1,)]
