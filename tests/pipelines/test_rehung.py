"""What hangs elsewhere is found however it came there; what was never staged is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

from oms_ops.feed.entities import LEDGERS
from pipelines.lib import rehung
from pipelines.lib.lake import QUARANTINE
from pipelines.lib.status import DBT_PROJECT

_MODELS = Path(DBT_PROJECT, "models", "staging")

#: The newest file that a whole build went through, and one that only half a build did.
_DONE, _HALF = "a.parquet", "b.parquet"

#: Staged before: payment 1 of order 1; payments 2 and 4, deleted, of which the one's deletion no
#: whole build has gone through; location 6, and 8, deleted.
_STAGED = (
    "CREATE SCHEMA staging",
    "CREATE TABLE staging.stg_payments AS SELECT * FROM (VALUES"
    f" (1, 1, 'U', '{_DONE}'), (2, 1, 'D', '{_DONE}'), (4, 1, 'D', '{_HALF}'))"
    " AS t (id, order_id, _op, _file)",
    "CREATE TABLE staging.stg_locations AS SELECT * FROM (VALUES"
    f" (6, 1, 'storage', 'I', '{_DONE}'), (8, 1, 'storage', 'D', '{_DONE}'))"
    " AS t (id, warehouse_id, kind, _op, _file)",
)
_PLACE = '{"warehouse_id": 1, "kind": "storage"}'


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("payments", 1, "U", '{"order_id": 2}')], "order_id of payments 1"),
        ([("payments", 1, "U", '{"order_id":null}')], "order_id of payments 1"),
        ([("payments", 1, "U", '{"order_id":"one"}')], "order_id of payments 1"),
        ([("payments", 1, "U", '{"order_id":1}')], None),
        # As SQLite's INSERT OR REPLACE is logged, and as one that was deleted before.
        ([("payments", 1, "I", '{"order_id": 2}')], "order_id of payments 1"),
        (
            [("payments", 1, "D", '{"order_id": 1}'), ("payments", 1, "I", '{"order_id": 2}')],
            "order_id of payments 1",
        ),
        ([("payments", 1, "D", '{"order_id": 1}')], None),
        ([("payments", 2, "I", '{"order_id": 2}')], None),
        ([("payments", 4, "I", '{"order_id": 2}')], "order_id of payments 4"),
        ([("payments", 4, "I", '{"order_id": 1}')], None),
        ([("payments", 3, "I", '{"order_id": 2}'), ("payments", 3, "U", '{"order_id": 3}')], None),
        ([("locations", 6, "U", '{"warehouse_id": 1, "kind": "bin"}')], "kind of locations 6"),
        ([("locations", 6, "D", _PLACE)], "of locations 6"),
        ([("locations", 6, "U", _PLACE), ("locations", 7, "D", _PLACE)], None),
        ([("locations", 8, "I", _PLACE)], "of locations 8"),
        ([("locations", 8, "D", _PLACE)], None),
    ],
)
def test_a_change_of_place_is_told(
    tmp_path: Path, changes: list[tuple[str, int, str, str]], told: str | None
) -> None:
    found = _ask(tmp_path, changes)
    assert (found is None) if told is None else (found is not None and told in found)


@pytest.mark.parametrize(
    ("entity", "column"),
    [(entity, column) for entity, columns in rehung._KEYS.items() for column in columns],
)
def test_every_key_is_compared_as_it_is_staged(tmp_path: Path, entity: str, column: str) -> None:
    """Moments are written in more than one way, and are the same."""
    kinds = {"occurred_at": "TIMESTAMPTZ", "kind": "VARCHAR"}
    staged, same, other = ("1", "1", 2) if column not in kinds else ("bin", "bin", "storage")
    if column == "occurred_at":
        staged = "2026-03-01 12:00:00+00"
        same, other = "2026-03-01T12:00:00.000000Z", "2026-03-02T12:00:00+00:00"
    statements = (
        "CREATE SCHEMA staging",
        f"CREATE TABLE staging.stg_{entity} AS SELECT 1 AS id, 'I' AS _op, '{_DONE}' AS _file,"
        f" '{staged}'::{kinds.get(column, 'BIGINT')} AS {column}",
    )
    for now, told in ((same, None), (other, f"{column} of {entity} 1")):
        folder = tmp_path / str(told)
        folder.mkdir()
        assert _ask(folder, [(entity, 1, "I", json.dumps({column: now}))], statements) == told


@pytest.mark.parametrize("payload", ['{"order_id": 2}', "[1]", "lost"])
def test_what_is_in_quarantine_moves_nothing(tmp_path: Path, payload: str) -> None:
    aside = {"epoch": 1, "xid": 0, "seq": 1, "file": "f", "entity": "payments", "entity_id": 1,
             "op": "U", "reason": "odd", "found_at": "2026-01-01"}  # fmt: skip
    (tmp_path / QUARANTINE).write_text(json.dumps([aside]))
    assert _ask(tmp_path, [("payments", 1, "U", payload)]) is None


def test_every_key_is_staged() -> None:
    for entity, columns in rehung._KEYS.items():
        model = (_MODELS / f"stg_{entity}.sql").read_text()
        assert all(re.search(rf"'{column}':", model) for column in columns), entity


def test_every_ledger_that_is_staged_is_compared() -> None:
    staged = {path.stem.removeprefix("stg_") for path in _MODELS.glob("stg_*.sql")}
    assert len(staged & set(LEDGERS)) > 1
    assert staged & set(LEDGERS) <= set(rehung._KEYS)


def _ask(
    folder: Path,
    changes: list[tuple[str, int, str, str]],
    statements: tuple[str, ...] = _STAGED,
) -> str | None:
    warehouse = folder / "warehouse.duckdb"
    with duckdb.connect(warehouse) as connection:
        for statement in statements:
            connection.execute(statement)
    names = ["entity", "entity_id", "op", "payload"]
    frame = pl.DataFrame(changes, schema=names, orient="row").with_row_index("seq", offset=1)
    frame.with_columns(pl.lit(1).alias("epoch")).write_parquet(folder / "news.parquet")
    return rehung.rehung(warehouse, folder, [folder / "news.parquet"], _DONE)
