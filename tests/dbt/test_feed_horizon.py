"""A level can land before a move that it already counts; figures and checks stand that.

On PostgreSQL a change waits while an older transaction is in flight. A transaction that is older
still may touch the same level later, and lands at once: its level then knows of a move that waits.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from oms_ops.database import make_engine
from oms_ops.stock import ledger
from oms_ops.stock.ledger import Move
from pipelines.lib import landing
from tests.dbt.warehouse import build, build_half, query
from tests.oms_ops.shop import ADMIN, Shop

DRAW_ID = sa.text("SELECT pg_current_xact_id()")


def test_a_level_ahead_of_its_moves_stops_no_build(postgres_url: str, tmp_path: Path) -> None:
    engine = make_engine(postgres_url)
    home = tmp_path / "home"
    folder = home / "lake" / "changes"
    shop = Shop(engine)
    shop.stock("SKU-1", 10)
    move = Move(shop.warehouse_ids["ATL"], shop.sku_ids["SKU-1"], 3, "adjustment", True, "opening",
                "OPENING", 100)  # fmt: skip

    with engine.connect() as early, engine.connect() as dawdler:
        early.execute(DRAW_ID)
        dawdler.execute(DRAW_ID)
        shop.stock("SKU-1", 5)
        ledger.receive(early, ADMIN, [move])
        early.commit()
        landing.land(engine, folder)
        build(home, "2030-01-01")
        on_hand = "SELECT on_hand FROM marts.inventory_health WHERE sku = 'SKU-1'"
        moved = "SELECT sum(quantity_change) FROM marts.fct_stock_moves WHERE sku = 'SKU-1'"
        # Every figure is the ledger's at the place in the feed that has landed.
        assert query(home, moved) == [(13,)]
        assert query(home, on_hand) == [(13,)]
        assert query(home, "SELECT on_hand FROM staging.stg_stock_levels") == [(18,)]
        dawdler.rollback()

    landing.land(engine, folder)
    build_half(home, "2030-01-01", ["inventory_health", "fct_stock_moves"])
    assert query(home, on_hand) == query(home, moved) == [(18,)]
    engine.dispose()
