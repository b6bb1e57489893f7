"""Staging takes every change of the lake once, from both databases, whatever order it lands in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from oms_ops.feed.reader import START, Cursor
from pipelines.lib import dbt, lake
from tests.dbt.warehouse import living_in, query

#: The entities that marts read; the others wait in the lake until one does.
STAGED = sorted(
    path.stem.removeprefix("stg_") for path in Path("dbt_project/models/staging").glob("stg_*.sql")
)
PLACED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

#: One order as the triggers of each database write it: its flags, moments and numbers.
FROM_SQLITE = {"number": "SO-1", "placed_at": "2026-03-01T12:30:00.000000Z",
               "promised_on": "2026-03-05", "total_minor": 1999, "allow_backorder": 1,
               "allow_split": 0, "routing": '{"rule": "nearest"}', "changed_at":
               "2026-03-01T12:30:00.000000Z"}  # fmt: skip
FROM_POSTGRES = {"number": "SO-1", "placed_at": "2026-03-01T12:30:00+00:00",
                 "promised_on": "2026-03-05", "total_minor": 1999, "allow_backorder": True,
                 "allow_split": False, "routing": {"rule": "nearest"}, "changed_at":
                 "2026-03-01T12:30:00+00:00"}  # fmt: skip


def counts(home: Path, condition: str = "true") -> dict[str, int]:
    """Return how many rows of each staging table meet ``condition``."""
    return {
        entity: query(home, f"SELECT count(*) FROM staging.stg_{entity} WHERE {condition}")[0][0]
        for entity in STAGED
    }


class Lake:
    """Lands changes by hand; each call is a file of its own."""

    def __init__(self, home: Path) -> None:
        """Begin with an empty lake."""
        self.folder = home / "lake" / "changes"
        self.folder.mkdir(parents=True)
        self.upto = START

    def land(self, *changes: tuple[str, int, int, str, dict[str, Any]], xid: int = 0) -> str:
        """Land (entity, id, seq, op, columns) as one batch; return the name of its file.

        It ends one cursor further on, whatever it has.
        """
        frame = pl.DataFrame(
            [
                (1, xid, seq, entity, row, op, 1, json.dumps({"id": row, **columns}), "t", PLACED)
                for entity, row, seq, op, columns in changes
            ],
            schema={
                "epoch": pl.Int32, "xid": pl.Int64, "seq": pl.Int64, "entity": pl.String,
                "entity_id": pl.Int64, "op": pl.String, "version": pl.Int32, "payload": pl.String,
                "changed_by": pl.String, "occurred_at": pl.Datetime("us", "UTC"),
            },
            orient="row",
        )  # fmt: skip
        upto = Cursor(1, xid, self.upto.seq + 1)
        file = lake.write(self.folder, self.upto, upto, frame.write_parquet)
        self.upto = upto
        return file.path.name


@contextmanager
def _when_the_first_model_is_built(act: Any) -> Iterator[None]:
    """Do ``act`` inside dbt's own thread, as soon as one model of the build is done."""
    plain, pending = dbt._result, [act]

    def result(data: Any, done: int) -> dbt.NodeResult:
        if pending:
            pending.pop()()
        return plain(data, done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt, "_result", result)
        yield


def make(home: Path, *chosen: str) -> None:
    """Build the chosen models; tests across layers fail, for nothing else is built."""
    with living_in(home):
        for result in dbt.build({"business_date": "2026-03-31"}, select=chosen):
            assert result.ok or result.kind == "test", result.message


def stage(home: Path) -> None:
    """Build staging, then note how far it went, which a whole build does at its end."""
    make(home, "staging")
    make(home, "processed_files")


def skus(home: Path) -> list[tuple[Any, ...]]:
    """Return id, name and op of every SKU in staging."""
    return query(home, "SELECT id, name, _op FROM staging.stg_skus ORDER BY id")


def test_staging_holds_the_newest_state_of_every_row(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with living_in(home):
        list(dbt.build({"business_date": "2026-03-31"}, select=["staging"]))
    assert counts(home) == dict.fromkeys(STAGED, 0)

    feed = Lake(home)
    feed.land(("orders", 1, 1, "I", FROM_SQLITE))
    feed.land(("orders", 2, 2, "I", FROM_POSTGRES))
    for number in range(3, 43):
        feed.land(("skus", number, number, "I", {"name": "new"}))
    stage(home)
    first, second = query(
        home, "SELECT * EXCLUDE (id, _seq, _file) FROM staging.stg_orders ORDER BY id"
    )
    assert first == second
    assert query(
        home, "SELECT DISTINCT placed_at = TIMESTAMPTZ '2026-03-01 12:30:00+00', promised_on ="
        " DATE '2026-03-05', total_minor, allow_backorder, allow_split FROM staging.stg_orders"
    ) == [(True, True, 1999, True, False)]  # fmt: skip
    assert skus(home) == [(number, "new", "I") for number in range(3, 43)]

    # A row that goes through three states in one file, one that is deleted, one that is replayed,
    # and one whose older state lands last.
    feed.land(
        ("skus", 3, 103, "U", {"name": "second"}), ("skus", 3, 104, "U", {"name": "third"}),
        ("skus", 4, 105, "D", {"name": "new"}), ("skus", 5, 5, "I", {"name": "new"}),
        ("skus", 6, 110, "U", {"name": "newest"}),
    )  # fmt: skip
    stage(home)
    feed.land(
        ("skus", 6, 109, "U", {"name": "late"}), ("skus", 4, 4, "I", {"name": "new"})
    )  # fmt: skip
    stage(home)
    assert skus(home)[:5] == [
        (3, "third", "U"), (4, "new", "D"), (5, "new", "I"), (6, "newest", "U"), (7, "new", "I")
    ]  # fmt: skip
    assert len(skus(home)) == 40

    # A file that lands in the middle of a build belongs to the next one, whole.
    before = counts(home)
    late = [(entity, 1000, 1000, "I", {}) for entity in STAGED]
    with _when_the_first_model_is_built(lambda: feed.land(*late)):
        stage(home)
    assert counts(home) == before
    stage(home)
    assert counts(home, "id = 1000") == dict.fromkeys(STAGED, 1)


#: A model of each macro that reads the lake, and of the one with a condition.
READERS = ("stg_orders", "int_order_versions", "int_lines_at_capture")


def test_a_change_that_landed_twice_is_taken_once_and_the_newest_wins(tmp_path: Path) -> None:
    """Whether the copies come with one build or with two: a crashed merge leaves both files."""
    home = tmp_path / "home"
    feed = Lake(home)
    states = [("orders", 1, seq, op, {"status": f"after {seq}"}) for seq, op in enumerate("IUU", 1)]
    line = ("order_lines", 7, 4, "I", {"quantity": 5, "allocated": 2})
    first = feed.land(states[0], states[2], line)
    # The second file has the state between, copies of all that the first has, and one of its own.
    second = feed.land(*states, states[1], line)

    def states_and_lines() -> tuple[list[tuple[Any, ...]], ...]:
        make(home, *READERS)
        return (
            query(home, "SELECT id, status, _seq, _file FROM staging.stg_orders"),
            query(
                home, "SELECT entity_id, status, _seq, _file FROM intermediate.int_order_versions"
                " ORDER BY _seq"
            ),
            query(home, "SELECT id, quantity, _file FROM intermediate.int_lines_at_capture"),
        )  # fmt: skip

    expected = (
        [(1, "after 3", 3, first)],
        [(1, "after 1", 1, first), (1, "after 2", 2, second), (1, "after 3", 3, first)],
        [(7, 5, first)],
    )
    assert states_and_lines() == expected
    feed.land(*states, line)
    assert states_and_lines() == expected


def test_an_event_is_of_the_shops_day_on_which_it_occurred(tmp_path: Path) -> None:
    home = tmp_path / "home"
    moments = ("2026-03-02T04:59:59.999999Z", "2026-03-02T05:00:00+00:00", None)
    Lake(home).land(
        *(("payment_events", n, n, "I", {"occurred_at": at}) for n, at in enumerate(moments))
    )
    make(home, "stg_payment_events")
    days = query(home, "SELECT occurred_on FROM staging.stg_payment_events ORDER BY id")
    assert days == [(date(2026, 3, 1),), (date(2026, 3, 2),), (None,)]


def test_a_first_build_does_not_hold_whole_rows(tmp_path: Path) -> None:
    """What stands on all rows at once, payloads included, does not end after a great history."""
    home = tmp_path / "home"
    Lake(home).land(*((entity, 1, seq, "I", {}) for seq, entity in enumerate(STAGED)))
    make(home, "staging", *READERS)
    compiled = [path.read_text() for path in (home / "dbt").rglob("compiled/**/*.sql")]
    readers = [statement for statement in compiled if "read_parquet" in statement]
    assert len(readers) == len(STAGED) + len(READERS) - 1
    profile = yaml.safe_load((dbt.DBT_PROJECT / "profiles.yml").read_text())["order_platform"]
    options = profile["outputs"]["dev"]["config_options"] | {"temp_directory": str(home)}
    with duckdb.connect(home / "warehouse" / "warehouse.duckdb", config=options) as connection:
        for statement in readers:
            plan = connection.sql(f"EXPLAIN {statement}").fetchall()[0][1]
            assert "READ_PARQUET" in plan
            for operator in ("WINDOW", "DELIM_JOIN", "CTE"):
                assert operator not in plan, statement
