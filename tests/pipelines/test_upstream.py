"""A new column flows through; one that is gone or retyped stops the run and is named."""

from __future__ import annotations

from pathlib import Path

import duckdb
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import transaction
from oms_ops.feed.triggers import install
from pipelines.lib import upstream
from tests.pipelines.world import World


def alter(engine: Engine, *statements: str) -> None:
    """Change tables as a shop would by itself, without a migration of ours."""
    with transaction(engine) as connection:
        if engine.dialect.name == "sqlite":
            # SQLite drops no column that a trigger names.
            names = connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'oms_feed%'"
            ).scalars()
            for name in list(names):
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(sa.text(statement))
        install(connection)


def retype(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE suppliers ALTER COLUMN name TYPE bigint USING 1")
        return
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    connection.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, 'name TEXT', 'name BIGINT')"
        " WHERE name = 'suppliers'"
    )
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def test_the_tables_of_a_fresh_database_are_as_declared(database: Engine, tmp_path: Path) -> None:
    assert upstream.compare(database, tmp_path) == ([], {})


def test_what_is_gone_or_retyped_is_named(database: Engine, tmp_path: Path) -> None:
    alter(database, "ALTER TABLE orders DROP COLUMN hold_reason")
    with transaction(database) as connection:
        retype(connection)
    faults, _ = upstream.compare(database, tmp_path)
    assert faults == [
        "suppliers.name was text and is integer",
        "orders.hold_reason (text) is gone",
    ]


def test_a_column_of_the_shops_own_that_has_flowed_must_stay(
    database: Engine, tmp_path: Path
) -> None:
    alter(database, "ALTER TABLE suppliers ADD COLUMN vat_number text")
    faults, own = upstream.compare(database, tmp_path)
    assert (faults, own) == ([], {"suppliers": {"vat_number": "text"}})
    upstream.note(tmp_path, own)
    assert upstream.staged(tmp_path) == {"suppliers": {"vat_number": "varchar"}}
    alter(database, "ALTER TABLE suppliers DROP COLUMN vat_number")
    assert upstream.compare(database, tmp_path)[0] == ["suppliers.vat_number (text) is gone"]


def test_a_new_column_flows_into_staging_and_a_lost_one_stops_the_run(
    shop_on_sqlite: World,
) -> None:
    world = shop_on_sqlite
    engine = world.engine()
    alter(
        engine,
        "ALTER TABLE suppliers ADD COLUMN vat_number text",
        "ALTER TABLE orders ADD COLUMN gift boolean",
    )
    with transaction(engine) as connection:
        connection.exec_driver_sql("UPDATE suppliers SET vat_number = 'X1'")
        connection.exec_driver_sql("UPDATE orders SET gift = true WHERE id = 1")
    world.publish()
    warehouse = str(world.home / "warehouse" / "warehouse.duckdb")
    with duckdb.connect(warehouse, read_only=True) as connection:
        found = connection.execute("SELECT DISTINCT vat_number FROM staging.stg_suppliers")
        assert found.fetchall() == [("X1",)]
        found = connection.execute("SELECT id FROM staging.stg_orders WHERE gift")
        assert found.fetchall() == [(1,)]

    good = world.snapshot
    alter(engine, "ALTER TABLE orders DROP COLUMN gift")
    world.sell(1)
    assert world.run()[0] == 1
    assert world.status["failed_checks"] == ["lake/changes: upstream_columns"]
    assert "orders.gift (boolean) is gone" in world.status["message"]
    assert world.snapshot == good
    engine.dispose()
