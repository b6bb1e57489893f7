"""Whether a landed change hangs a row on another row than the warehouse knows.

Increments do again what hangs together with whatever changed. What a row hung on before nobody
tells them once its staging table has the new state, so its old place would keep it. No service
does this; plain SQL can.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from pipelines.lib import quarantine

#: Columns by which increments find what hangs together, of tables whose rows do not leave by
#: themselves. Ledgers refuse updates and deletions, and not SQLite's INSERT OR REPLACE.
_KEYS = {
    "order_lines": ("order_id",),
    "shipments": ("order_id",),
    "shipment_lines": ("shipment_id",),
    "picks": ("shipment_id",),
    "payments": ("order_id",),
    "payment_operations": ("payment_id",),
    "payment_events": ("payment_id", "occurred_at"),
    "refunds": ("order_id",),
    "refund_items": ("refund_id",),
    "returns": ("order_id",),
    "return_lines": ("return_id",),
    "feedback": ("order_id",),
    "ticket_messages": ("ticket_id",),
    "stock_moves": ("from_location_id", "to_location_id", "sku_id", "occurred_at"),
    # Whose stock it is, and whether what is there is stock.
    "locations": ("warehouse_id", "kind"),
}
#: Of these coming and going, too, changes what was long before it.
_LASTING = frozenset({"locations"})


def rehung(warehouse: Path, folder: Path, files: Sequence[Path], done: str) -> str | None:
    """Return what a change in ``files`` of the lake hangs elsewhere, None where nothing is.

    ``done`` names the newest file that a whole build has gone through; the files come after it.
    Changes in quarantine hang nothing: the models do not read them.
    """
    if not files:
        return None
    with duckdb.connect(warehouse, read_only=True) as connection:
        connection.register("aside", quarantine.frame(folder).to_arrow())
        staged = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'staging'"
        ).fetchall()
        types = {(table, column): kind for table, column, kind in staged}
        queries = [
            _query(entity, column, types[f"stg_{entity}", column])
            for entity, columns in _KEYS.items()
            for column in columns
            if (f"stg_{entity}", column) in types
        ]
        if not queries:
            return None
        connection.execute("SET VARIABLE done = ?", [done])
        row = connection.execute(
            f"{' UNION ALL '.join(queries)} LIMIT 1", {"files": [str(file) for file in files]}
        ).fetchone()
    return row[0] if row else None


def _query(entity: str, column: str, kind: str) -> str:
    """Return SQL for the rows of an entity that are in another place now, or in none.

    A row that comes a second time is inserted or replaced. One whose deletion a whole build has
    gone through has left its place; before, what it was counted in may still have it. Payloads are
    not kept, of millions of changes they would not fit into memory.
    """
    now = f"CASE WHEN op <> 'D' AND json_valid(payload) THEN payload ->> '{column}' END"
    if entity in _LASTING:
        ops, before, stays = "'I', 'U', 'D'", f"CASE WHEN known._op <> 'D' THEN {column} END", ""
    else:
        ops, before = "'I', 'U'", column
        stays = " AND (known._op <> 'D' OR known._file > getvariable('done'))"
    return (
        f"SELECT '{column} of {entity} ' || changed.entity_id AS what"
        f" FROM (SELECT epoch, seq, entity_id, {now} AS place FROM read_parquet($files)"
        f" WHERE entity = '{entity}' AND op IN ({ops})) AS changed"
        f" JOIN staging.stg_{entity} AS known ON changed.entity_id = known.id"
        " ANTI JOIN aside ON aside.epoch = changed.epoch AND aside.seq = changed.seq"
        f" WHERE TRY_CAST(changed.place AS {kind}) IS DISTINCT FROM {before}{stays}"
    )
