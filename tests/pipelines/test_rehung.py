"""What hangs elsewhere is found however it came there; what was never staged is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipelines.lib import rehung
from pipelines.lib.lake import QUARANTINE
from pipelines.lib.status import DBT_PROJECT

#: Staged before: payment 1 of order 1; payment 2, deleted; location 6.
_STAGED = (
    "CREATE SCHEMA staging",
    "CREATE TABLE staging.stg_payments AS SELECT * FROM (VALUES (1, 1, 'U'), (2, 1, 'D'))"
    " AS t (id, order_id, _op)",
    "CREATE TABLE staging.stg_locations AS"
    " SELECT 6 AS id, 1 AS warehouse_id, 'storage' AS kind, 'I' AS _op",
)
_PLACE = '{"warehouse_id": 1, "kind": "storage"}'


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("payments", 1, "U", '{"order_id": 2}')], "order_id of payments 1"),
        ([("payments", 1, "U", '{"order_id":null}')], "order_id of payments 1"),
        ([("payments", 1, "U", '{"order_id":1}')], None),
        # As SQLite's INSERT OR REPLACE is logged, and as one that was deleted before.
        ([("payments", 1, "I", '{"order_id": 2}')], "order_id of payments 1"),
        (
            [("payments", 1, "D", '{"order_id": 1}'), ("payments", 1, "I", '{"order_id": 2}')],
            "order_id of payments 1",
        ),
        ([("payments", 1, "D", '{"order_id": 1}')], None),
        ([("payments", 2, "I", '{"order_id": 2}')], None),
        ([("payments", 3, "I", '{"order_id": 2}'), ("payments", 3, "U", '{"order_id": 3}')], None),
        ([("locations", 6, "U", '{"warehouse_id": 1, "kind": "bin"}')], "kind of locations 6"),
        ([("locations", 6, "D", _PLACE)], "of locations 6"),
        ([("locations", 6, "U", _PLACE), ("locations", 7, "D", _PLACE)], None),
    ],
)
def test_a_change_of_place_is_told(
    tmp_path: Path, changes: list[tuple[str, int, str, str]], told: str | None
) -> None:
    found = _ask(tmp_path, changes)
    assert (found is None) if told is None else (found is not None and told in found)


@pytest.mark.parametrize("payload", ['{"order_id": 2}', "[1]", "lost"])
def test_what_is_in_quarantine_moves_nothing(tmp_path: Path, payload: str) -> None:
    aside = {"epoch": 1, "xid": 0, "seq": 1, "file": "f", "entity": "payments", "entity_id": 1,
             "op": "U", "reason": "odd", "found_at": "2026-01-01"}  # fmt: skip
    (tmp_path / QUARANTINE).write_text(json.dumps([aside]))
    assert _ask(tmp_path, [("payments", 1, "U", payload)]) is None


def test_every_key_is_staged() -> None:
    for entity, columns in rehung._KEYS.items():
        model = Path(DBT_PROJECT, "models", "staging", f"stg_{entity}.sql").read_text()
        assert all(re.search(rf"'{column}':", model) for column in columns), entity


def _ask(folder: Path, changes: list[tuple[str, int, str, str]]) -> str | None:
    warehouse = folder / "warehouse.duckdb"
    with duckdb.connect(warehouse) as connection:
        for statement in _STAGED:
            connection.execute(statement)
    names = ["entity", "entity_id", "op", "payload"]
    frame = pl.DataFrame(changes, schema=names, orient="row").with_row_index("seq", offset=1)
    frame.with_columns(pl.lit(1).alias("epoch")).write_parquet(folder / "news.parquet")
    return rehung.rehung(warehouse, folder, [folder / "news.parquet"])
