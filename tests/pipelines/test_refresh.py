"""The whole run, for real: what is published is right, and what is wrong is not published."""

from __future__ import annotations

import re
import shutil
import signal
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import sqlalchemy as sa

from oms_ops import clock
from oms_ops.database import as_time, transaction
from pipelines import lake
from pipelines.defs.common import JOB
from pipelines.lib import idle, landing, publishing, rebuilding, screening, status
from tests.pipelines.world import World


def test_a_run_publishes_marts_that_reconcile_with_the_ledger(published: World) -> None:
    assert published.status["state"] == "published"
    assert published.status["snapshot"] == published.snapshot.name
    assert published.query("SELECT count(*) FROM marts.fct_orders") == [(20,)]
    lines = published.query("SELECT measure, is_reconciled FROM marts.reconciliation")
    assert len(lines) > 20
    assert all(is_reconciled for _, is_reconciled in lines)
    assert published.landed() == published.log()


def test_the_snapshot_says_what_it_is(published: World) -> None:
    [(list_id, run_id, cursor)] = published.query(
        "SELECT list_id, run_id, cursor FROM meta.snapshot"
    )
    assert list_id == run_id == published.status["run_id"]
    assert cursor == published.status["basis"]["cursor"]
    assert published.query("SELECT DISTINCT list_id FROM marts.reorder_lines") == [(list_id,)]
    assert published.query("SELECT count(*) FROM meta.check_results WHERE NOT passed") == [(0,)]
    stages = {stage for (stage,) in published.query("SELECT stage FROM meta.stage_timings")}
    assert {"capture", "warehouse", "replenishment", "reconciliation"} <= stages


def test_every_reorder_line_adds_up_and_is_due(published: World) -> None:
    lines = published.query(
        "SELECT demand_quantity + safety_quantity - on_hand - on_order + allocated + backordered"
        " + moq_excess + pack_excess, suggested_quantity, inventory_position, reorder_point"
        " FROM marts.reorder_lines"
    )
    assert lines
    for waterfall, suggested, position, reorder_point in lines:
        assert waterfall == suggested > 0
        assert position <= reorder_point


def test_a_second_run_with_no_change_touches_nothing(world: World) -> None:
    before = {path: path.stat().st_mtime_ns for path in _state(world)}
    assert "unchanged" in world.publish()
    assert {path: path.stat().st_mtime_ns for path in _state(world)} == before
    assert world.status["state"] == "unchanged"
    assert world.status["snapshot"] == world.snapshot.name


def _state(world: World) -> list[Path]:
    folders = ("lake", "warehouse", "published", "dagster/history")
    files = [path for folder in folders for path in (world.home / folder).rglob("*")]
    return [path for path in files if path.is_file() and path.name != "status.json"]


def test_a_run_after_new_orders_takes_in_just_those(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(world.log())
    copied: list[str] = []
    copy = shutil.copyfile
    monkeypatch.setattr(publishing, "copyfile", lambda a, b: (copied.append(a.name), copy(a, b)))
    last = world.snapshot.name
    world.sell(100)
    world.publish()
    assert copied == [last]
    changes = world.log()
    assert world.landed() == changes
    stages = world.query(
        "SELECT stage, rows_read, rows_written FROM meta.stage_timings"
        " WHERE stage IN ('capture', 'warehouse')"
    )
    news = len(changes) - before
    assert {stage: read for stage, read, _ in stages} == {"capture": news, "warehouse": news}
    # Nine models have a row for each order; the others are small.
    written = {stage: rows for stage, _, rows in stages}
    assert written["capture"] == news
    assert 900 <= written["warehouse"] <= 1800
    assert len(list((world.home / "lake" / "changes").glob("*.parquet"))) == 3
    assert world.query("SELECT count(*) FROM marts.fct_orders") == [(120,)]
    assert world.query("SELECT bool_and(is_reconciled) FROM marts.reconciliation") == [(True,)]
    assert _differences(world) == {}


def _differences(world: World) -> dict[str, int]:
    """Return how many rows of each mart are in the warehouse or in the snapshot alone."""
    found = {}
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{world.home / 'warehouse/warehouse.duckdb'}' (READ_ONLY)")
        connection.execute(f"ATTACH '{world.snapshot}' AS shown (READ_ONLY)")
        marts = connection.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_catalog = 'warehouse' AND table_schema = 'marts'"
        ).fetchall()
        assert len(marts) > 30
        for (mart,) in marts:
            one, other = f"warehouse.marts.{mart}", f"shown.marts.{mart}"
            row = connection.execute(
                f"SELECT count(*) FROM ((FROM {one} EXCEPT ALL FROM {other})"
                f" UNION ALL (FROM {other} EXCEPT ALL FROM {one}))"
            ).fetchone()
            if row and row[0]:
                found[mart] = row[0]
    return found


def _cook_the_books(world: World, captured: str) -> None:
    """Change money behind the back of the feed, as somebody with triggers off would."""
    engine = world.engine()
    with transaction(engine) as connection:
        statement = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'oms_feed_payments_update'"
        ).scalar_one()
        connection.exec_driver_sql("DROP TRIGGER oms_feed_payments_update")
        connection.execute(sa.text(f"UPDATE payments SET captured_minor = {captured} WHERE id = 1"))
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_failed_check_publishes_nothing_and_is_told(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    content = good.read_bytes()
    _cook_the_books(world, "captured_minor + 1")
    world.sell(1)
    code, printed = world.run()
    assert code == 1
    assert "FAILED" in printed
    assert world.snapshot == good
    assert good.read_bytes() == content
    assert world.status["state"] == "failed"
    assert world.status["snapshot"] == good.name
    assert world.status["failed_checks"] == ["marts/reconciliation: to_the_cent"]
    assert "captured in fct_orders: 0 instead of 0.01" in world.status["message"]

    # Nothing new in the feed, but the last run failed: the next one must not call it unchanged.
    with world.settings():
        assert idle.settle() is None

    _cook_the_books(world, "captured_minor - 1")
    assert "published" in world.publish()
    assert world.status["state"] == "published"
    assert world.snapshot != good


def test_what_fails_a_data_test_fails_it_again_until_it_is_mended(shop_on_sqlite: World) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    [[was]] = world.query("SELECT method FROM marts.fct_payments WHERE payment_id = 1")
    _say_method(world, "odd")
    # The day's first run tested everything; these look at what they touched, and touch it again.
    for _ in range(2):
        code, printed = world.run()
        assert code == 1
        assert "tests of touched rows" in printed
        assert any("fct_payments_method" in check for check in world.status["failed_checks"])
        assert world.snapshot == good
    _say_method(world, was)
    assert "tests of touched rows" in world.publish()


def _say_method(world: World, method: str) -> None:
    engine = world.engine()
    with transaction(engine) as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(f"UPDATE payments SET method = '{method}' WHERE id = 1")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    engine.dispose()


def test_a_row_that_hangs_on_another_one_than_before_leaves_nothing_at_its_old_place(
    shop_on_sqlite: World,
) -> None:
    world = shop_on_sqlite
    _without_foreign_keys(
        world,
        "UPDATE payments SET order_id = 2 WHERE id = 1",
        "UPDATE shipments SET order_id = 2 WHERE id = 3",
        "UPDATE locations SET kind = 'bin' WHERE id ="
        " (SELECT min(id) FROM locations WHERE kind = 'storage')",
        # All that is on hand came from there.
        "DELETE FROM locations WHERE kind = 'adjustment'",
    )
    printed = world.publish()
    assert re.search("built anew: [a-z_]+ of (payments|shipments|locations) ", printed)
    assert world.query("SELECT count(*) FROM marts.fct_payments WHERE order_id = 2") == [(2,)]
    assert world.query("SELECT count(*) FROM marts.fct_payments") == [(20,)]
    world.sell(1)
    assert "built anew" not in world.publish()


def test_a_run_of_some_models_hides_from_the_next_one_nothing_that_it_must_know(
    shop_on_sqlite: World,
) -> None:
    """It renews the staging tables, which then say no more what a row hung on before."""
    world = shop_on_sqlite
    _without_foreign_keys(world, "UPDATE payments SET order_id = 2 WHERE id = 1")
    engine = world.engine()
    landing.land(engine, world.home / "lake" / "changes")
    engine.dispose()
    with world.settings():
        # It reads the settings when it is imported.
        from pipelines.definitions import defs

        with dg.DagsterInstance.get() as instance:
            done = defs.resolve_job_def(JOB).execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(["staging", "stg_payments"])]
            )
    assert done.success
    assert "built anew" in world.publish()
    assert world.query("SELECT count(*) FROM marts.fct_payments") == [(20,)]


def test_the_first_run_of_a_day_tests_all_and_no_day_builds_on_a_later_one(
    shop_on_sqlite: World,
) -> None:
    world = shop_on_sqlite
    world.sell(1)
    assert "tests of touched rows" in world.publish()
    [[was]] = world.query("SELECT method FROM marts.fct_payments WHERE payment_id = 1")
    _say_method(world, "odd")
    with clock.at(clock.now() + timedelta(days=1)):
        code, printed = world.run()
    assert code == 1
    assert "tests of all rows" in printed
    assert "built anew" not in printed
    _say_method(world, was)
    # Though what the later day began did not come to its end.
    printed = world.publish()
    assert "built anew: it was built on a later day" in printed
    assert "tests of all rows" in printed


def test_what_a_build_notes_of_its_days(shop_on_sqlite: World) -> None:
    home = shop_on_sqlite.home
    warehouse, folder = home / "warehouse" / "warehouse.duckdb", home / "lake" / "changes"
    with shop_on_sqlite.settings():
        today = status.business_date(clock.now())
        tomorrow = today + timedelta(days=1)

        def on(day: date) -> tuple[bool, str | None]:
            """Return whether all is tested on a day, and why a build on it has to be anew."""
            return (
                rebuilding.is_tested(warehouse, day),
                rebuilding.reason(warehouse, folder, day),
            )

        later = f"it was built on a later day, {tomorrow}"
        assert (on(today), on(tomorrow)) == ((True, None), (False, None))
        rebuilding.begin(warehouse, tomorrow)
        assert (on(today), on(tomorrow)) == ((True, later), (False, None))
        rebuilding.remember(warehouse, folder, tomorrow)
        assert (on(today), on(tomorrow)) == ((False, later), (True, None))
        rebuilding.begin_anew(warehouse)
        rebuilding.begin(warehouse, today)
        assert on(today) == (False, "it was not built to its end")


def test_a_row_like_another_or_without_what_it_points_to_is_found_though_nothing_touched_that(
    shop_on_sqlite: World,
) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    with duckdb.connect(world.home / "warehouse" / "warehouse.duckdb") as connection:
        connection.execute(
            "INSERT INTO marts.fct_payments SELECT * REPLACE (2 AS order_id)"
            " FROM marts.fct_payments WHERE payment_id = 1"
        )
    _without_foreign_keys(world, "UPDATE payments SET version = version + 1 WHERE id = 1")
    code, printed = world.run()
    assert (code, world.snapshot) == (1, good)
    assert "tests of touched rows" in printed
    assert any("unique_fct_payments" in check for check in world.status["failed_checks"])
    _without_foreign_keys(
        world,
        "DELETE FROM customers WHERE id = (SELECT customer_id FROM orders WHERE id = 1)",
    )
    code, printed = world.run()
    assert (code, world.snapshot) == (1, good)
    assert "tests of touched rows" in printed
    assert any("relationships_fct_orders" in check for check in world.status["failed_checks"])


def _without_foreign_keys(world: World, *statements: str) -> None:
    engine = world.engine()
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.commit()
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()
    engine.dispose()


def test_what_a_build_anew_left_half_done_is_built_anew(shop_on_sqlite: World) -> None:
    """An increment on it would have other days than the build before it made."""
    world = shop_on_sqlite
    engine = world.engine()
    with transaction(engine) as connection:
        earlier = as_time(connection, clock.now() - timedelta(days=20))
        connection.execute(
            sa.text("UPDATE orders SET placed_at = :at WHERE id = 1"), {"at": earlier}
        )
    engine.dispose()
    done = world.run_in_child("warehouse: 6 of 10 built", "--full-refresh")
    assert done.returncode == -signal.SIGKILL
    assert "built anew: it was not built to its end" in world.publish()


def test_a_batch_with_too_many_bad_changes_stops_before_the_warehouse(
    shop_on_sqlite: World,
) -> None:
    world = shop_on_sqlite
    good = world.snapshot
    warehouse = (world.home / "warehouse" / "warehouse.duckdb").stat().st_mtime_ns
    engine = world.engine()
    with transaction(engine) as connection:
        for number in range(screening.FEW + 1):
            connection.exec_driver_sql(
                "INSERT INTO change_log (epoch, entity, entity_id, op, version, payload,"
                f" changed_by, occurred_at) VALUES (1, 'gremlins', {number}, 'U', 1, '{{}}',"
                " 'gremlin', '2026-11-01T10:00:00.000000Z')"
            )
    engine.dispose()
    # The batch stays suspect in the next run too, though nothing new lands in that one.
    for _ in range(2):
        assert world.run()[0] == 1
        assert world.status["failed_checks"] == ["lake/changes: landed_changes"]
        assert "11 in quarantine (11 unknown table)" in world.status["message"]
        assert world.snapshot == good
    assert (world.home / "warehouse" / "warehouse.duckdb").stat().st_mtime_ns == warehouse

    # Somebody looks at them, and has no use for them.
    with world.settings():
        assert lake.main(["quarantine", "drop", "--all"]) == 0
    world.publish()
    assert world.status["warnings"] == []


def test_without_a_database_a_run_says_what_to_do(tmp_path: Path) -> None:
    world = World(tmp_path / "home", f"sqlite:///{tmp_path / 'missing.db'}")
    code, printed = world.run()
    assert code == 1
    assert "Create it with `oms init`" in printed
    assert world.status["state"] == "failed"
    assert not (tmp_path / "missing.db").exists()
