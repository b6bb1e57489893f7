"""Every committed change reaches the lake exactly once, by any writer, under any concurrency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import make_engine, reading, transaction
from oms_ops.feed.reader import Cursor
from pipelines.lib import idle, lake, landing, ledger


def add_customers(connection: Connection, *names: str) -> None:
    """Insert by plain SQL, as a writer who knows nothing of the services."""
    for name in names:
        connection.execute(
            sa.text(
                "INSERT INTO customers (email, name, created_at, version, changed_by, changed_at)"
                " VALUES (:email, :name, :at, 1, 'sql', :at)"
            ),
            {"email": f"{name}@example.com", "name": name, "at": "2026-11-01T10:00:00.000000Z"},
        )


def rename(connection: Connection, name: str, new: str) -> None:
    """Update by plain SQL."""
    connection.execute(
        sa.text("UPDATE customers SET name = :new, version = version + 1 WHERE name = :name"),
        {"name": name, "new": new},
    )


@contextmanager
def in_flight(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that stays open for the length of the block, then commits."""
    with engine.connect() as connection, connection.begin():
        yield connection


def customers(folder: Path) -> list[str]:
    """Return the names in the landed payloads of customers, every landed change of them."""
    frame = pl.scan_parquet(folder / "*.parquet").filter(pl.col("entity") == "customers").collect()
    return sorted(frame["payload"].str.json_path_match("$.name").to_list())


def log(engine: Engine) -> set[tuple[int, int]]:
    """Return the identity of every committed change."""
    with reading(engine) as connection:
        return set(map(tuple, connection.exec_driver_sql("SELECT epoch, seq FROM change_log")))


def landed(folder: Path) -> list[tuple[int, int]]:
    """Return the identity of every landed change, repeats included."""
    return pl.read_parquet(folder / "*.parquet").select("epoch", "seq").rows()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "changes"


def test_plain_sql_lands_with_inserts_updates_and_deletes(database: Engine, folder: Path) -> None:
    with transaction(database) as connection:
        add_customers(connection, "ann", "bob")
    with transaction(database) as connection:
        rename(connection, "bob", "rob")
        connection.exec_driver_sql("DELETE FROM customers WHERE name = 'ann'")
    done = landing.land(database, folder)
    assert customers(folder) == ["ann", "ann", "bob", "rob"]
    assert set(landed(folder)) == log(database)
    assert done.rows == len(landed(folder)) == len(log(database))
    lake.verify_chain(lake.landed(folder))


def test_a_second_landing_takes_only_what_came_after_the_first(
    database: Engine, folder: Path
) -> None:
    landing.land(database, folder)
    assert landing.land(database, folder).rows == 0
    assert not idle.anything_waits(database, folder)
    with transaction(database) as connection:
        add_customers(connection, "ann")
    assert idle.anything_waits(database, folder)
    assert landing.land(database, folder).rows == 1
    assert sorted(landed(folder)) == sorted(log(database))


def test_batches_are_drained_and_follow_one_another(database: Engine, folder: Path) -> None:
    landing.land(database, folder)
    with transaction(database) as connection:
        add_customers(connection, *(f"c{number}" for number in range(25)))
    done = landing.land(database, folder, batch=10)
    assert len(done.files) == 3
    assert done.rows == 25
    lake.verify_chain(lake.landed(folder))
    assert sorted(landed(folder)) == sorted(log(database))


def test_rolled_back_changes_do_not_land(database: Engine, folder: Path) -> None:
    with pytest.raises(RuntimeError, match="changed my mind"), transaction(database) as connection:
        add_customers(connection, "ghost")
        raise RuntimeError("changed my mind")
    with transaction(database) as connection:
        add_customers(connection, "ann")
    landing.land(database, folder)
    assert customers(folder) == ["ann"]


def test_the_file_is_sorted_by_entity_so_that_readers_skip_the_others(
    database: Engine, folder: Path
) -> None:
    with transaction(database) as connection:
        add_customers(connection, "ann")
    landing.land(database, folder)
    frame = pl.read_parquet(folder / "*.parquet")
    assert frame.equals(frame.sort("entity", "epoch", "xid", "seq"))
    types = {
        name: kind
        for name, kind, *_ in duckdb.sql(f"DESCRIBE FROM '{folder}/*.parquet'").fetchall()
    }
    assert types == {
        "epoch": "INTEGER",
        "xid": "BIGINT",
        "seq": "BIGINT",
        "entity": "VARCHAR",
        "entity_id": "BIGINT",
        "op": "VARCHAR",
        "version": "INTEGER",
        "payload": "VARCHAR",
        "changed_by": "VARCHAR",
        "occurred_at": "TIMESTAMP WITH TIME ZONE",
    }


def test_a_transaction_in_flight_is_not_lost(postgres_url: str, folder: Path) -> None:
    engine = make_engine(postgres_url)
    landing.land(engine, folder)
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            add_customers(fast, "fast")
        held = landing.land(engine, folder)
        # "fast" committed behind "slow": it waits, and the lag says so.
        assert (held.rows, held.waiting) == (0, 1)
    landing.land(engine, folder)
    assert customers(folder) == ["fast", "slow"]
    assert sorted(landed(folder)) == sorted(log(engine))
    engine.dispose()


def test_without_the_horizon_a_transaction_in_flight_is_lost(
    postgres_url: str, folder: Path
) -> None:
    """The negative control: ``seq > cursor`` alone, which looks right and is not."""
    engine = make_engine(postgres_url)

    def naive(after: int) -> list[tuple[int, str]]:
        with reading(engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT seq, payload ->> 'name' FROM change_log"
                f" WHERE entity = 'customers' AND seq > {after} ORDER BY seq"
            )
            return [tuple(row) for row in rows]

    taken = []
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            add_customers(fast, "fast")
        taken += naive(0)
    taken += naive(taken[-1][0])
    assert [name for _, name in taken] == ["fast"]
    engine.dispose()


def test_nothing_is_lost_or_repeated_while_six_writers_write(
    postgres_url: str, folder: Path
) -> None:
    engine = make_engine(postgres_url, pool_size=8)
    stop = threading.Event()

    def write(writer: int) -> None:
        with engine.connect() as connection:
            for number in range(60):
                with connection.begin() as work:
                    add_customers(connection, *(f"w{writer}n{number}k{k}" for k in range(3)))
                    if number % 4 == 0:
                        work.rollback()

    writers = [threading.Thread(target=write, args=[n]) for n in range(6)]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        landing.land(engine, folder, batch=50)
    stop.set()
    landing.land(engine, folder)
    assert sorted(landed(folder)) == sorted(log(engine))
    assert len(customers(folder)) == 6 * 45 * 3
    lake.verify_chain(lake.landed(folder))
    engine.dispose()


def test_a_new_epoch_is_read_from_its_start(sqlite_url: str, folder: Path) -> None:
    """After a restore the numbers begin again lower; the raised epoch keeps them apart."""
    engine = make_engine(sqlite_url)
    with transaction(engine) as connection:
        add_customers(connection, "ann", "bob")
    before = landing.land(engine, folder).horizon.cursor
    with transaction(engine) as connection:
        connection.exec_driver_sql("DELETE FROM change_log WHERE seq > 1")
        connection.exec_driver_sql("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'change_log'")
        connection.exec_driver_sql("UPDATE feed_state SET epoch = epoch + 1")
        add_customers(connection, "cid")
    after = landing.land(engine, folder).horizon.cursor
    assert (after.epoch, after.seq) == (before.epoch + 1, 2)
    # The restore undid the first two; what it left is still here.
    assert customers(folder) == ["cid"]
    assert sorted(landed(folder)) == sorted(log(engine))
    engine.dispose()


def _set_stock(connection: Connection, total: int) -> None:
    """Put one order on the books with a total of ``total`` minor units."""
    stamp = "2026-11-01T10:00:00.000000Z"
    add_customers(connection, f"buyer{total}")
    connection.execute(
        sa.text(
            "INSERT INTO warehouses (code, name, line1, city, region, postal_code, country, rank,"
            " is_active, version, changed_by, changed_at) VALUES (:code, 'W', '', 'C', 'R', '1',"
            " 'US', 1, true, 1, 'sql', :at)"
        ),
        {"code": f"W{total}", "at": stamp},
    )
    connection.execute(
        sa.text(
            "INSERT INTO orders (channel, customer_id, warehouse_id, status, placed_at, ship_name,"
            " ship_line1, ship_city, ship_country, currency, gross_minor, total_minor,"
            " allow_backorder, allow_split, routing, tracking_token, version, changed_by,"
            " changed_at) SELECT 'web', c.id, w.id, 'open', :at, 'n', 'l', 'c', 'US', 'USD',"
            " :total, :total, true, true, '{}', :token, 1, 'sql', :at"
            " FROM customers AS c, warehouses AS w"
            " WHERE c.email = :email AND w.code = :code"
        ),
        {
            "at": stamp,
            "total": total,
            "token": f"t{total}",
            "email": f"buyer{total}@example.com",
            "code": f"W{total}",
        },
    )


def test_totals_are_those_of_the_landed_changes(database: Engine, folder: Path) -> None:
    with transaction(database) as connection:
        _set_stock(connection, 1999)
    horizon = landing.land(database, folder).horizon
    assert horizon.totals["orders"] == 1
    assert horizon.totals["order_totals"] == 1999
    assert landing.Horizon.load(folder) == horizon


def test_totals_leave_out_what_committed_but_has_not_landed(
    postgres_url: str, folder: Path
) -> None:
    engine = make_engine(postgres_url)
    with transaction(engine) as connection:
        _set_stock(connection, 1000)
    landing.land(engine, folder)
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            _set_stock(fast, 500)
            fast.exec_driver_sql(
                "UPDATE orders SET gross_minor = 7, total_minor = 7 WHERE total_minor = 1000"
            )
        held = landing.land(engine, folder)
        assert held.rows == 0
        assert (held.horizon.totals["orders"], held.horizon.totals["order_totals"]) == (1, 1000)
        with reading(engine) as connection:
            # The negative control: plain sums run ahead of the lake.
            plain = connection.exec_driver_sql(
                "SELECT count(*), sum(total_minor) FROM orders"
            ).one()
        assert tuple(plain) == (2, 507)
    caught_up = landing.land(engine, folder).horizon
    assert (caught_up.totals["orders"], caught_up.totals["order_totals"]) == (2, 507)
    engine.dispose()


def test_tickets_that_have_not_landed_are_left_out_though_the_feed_lacks_their_words(
    postgres_url: str, folder: Path
) -> None:
    """The landed state of a row is made from the log, which carries no subject and no address."""
    engine = make_engine(postgres_url)
    with transaction(engine) as connection:
        _set_stock(connection, 1000)
        connection.exec_driver_sql(
            "INSERT INTO tickets (email, channel, topic, subject, status, priority, opened_at,"
            " first_response_due_at, resolution_due_at, changed_by, changed_at) VALUES"
            " ('a@example.com', 'phone', 'other', 'x', 'new', 'low', now(), now(), now(), 's',"
            " now())"
        )
        connection.exec_driver_sql(
            "INSERT INTO feedback (order_id, customer_id, score, given_at, changed_by, changed_at)"
            " SELECT id, customer_id, 3, now(), 's', now() FROM orders"
        )
    landing.land(engine, folder)
    with in_flight(engine) as slow:
        add_customers(slow, "slow")
        with transaction(engine) as fast:
            fast.exec_driver_sql("UPDATE feedback SET score = 9")
            fast.exec_driver_sql(
                "UPDATE tickets SET status = 'solved', first_responded_at = now(),"
                " solved_at = now(), rating = 4, rated_at = now()"
            )
        held = landing.land(engine, folder).horizon.totals
        names = ("tickets", "tickets_solved", "rating_points", "feedback", "feedback_points")
        assert [held[name] for name in names] == [1, 0, 0, 1, 3]
    caught_up = landing.land(engine, folder).horizon.totals
    assert [caught_up[name] for name in names] == [1, 1, 4, 1, 9]
    engine.dispose()


def test_totals_at_an_empty_feed_are_nothing(database: Engine) -> None:
    with reading(database) as connection:
        found = ledger.totals(connection, Cursor())
    assert found["orders"] == 0
