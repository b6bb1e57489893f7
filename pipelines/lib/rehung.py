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

#: Columns by which increments find what hangs together, of tables whose rows can change.
_KEYS = {
    "order_lines": ("order_id",),
    "shipments": ("order_id",),
    "shipment_lines": ("shipment_id",),
    "picks": ("shipment_id",),
    "payments": ("order_id",),
    "payment_operations": ("payment_id",),
    "refunds": ("order_id",),
    "refund_items": ("refund_id",),
    "returns": ("order_id",),
    "return_lines": ("return_id",),
    "feedback": ("order_id",),
    # Whose stock it is, and whether what is there is stock.
    "locations": ("warehouse_id", "kind"),
}
#: Of these a deletion, too, changes what was long before it.
_GONE = frozenset({"locations"})


def rehung(warehouse: Path, folder: Path, files: Sequence[Path]) -> str | None:
    """Return what a change in ``files`` of the lake hangs elsewhere, None where nothing is.

    Changes in quarantine hang nothing: the models do not read them.
    """
    if not files:
        return None
    with duckdb.connect(warehouse, read_only=True) as connection:
        connection.register("aside", quarantine.frame(folder).to_arrow())
        staged = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'staging'"
        ).fetchall()
        queries = [
            _query(entity, column)
            for entity, columns in _KEYS.items()
            if (f"stg_{entity}",) in staged
            for column in columns
        ]
        if not queries:
            return None
        row = connection.execute(
            f"{' UNION ALL '.join(queries)} LIMIT 1", {"files": [str(file) for file in files]}
        ).fetchone()
    return row[0] if row else None


def _query(entity: str, column: str) -> str:
    """Return SQL for the rows of an entity that are in another place now, or in none.

    A row that comes a second time is inserted or replaced; one that was deleted before has left
    its place. Payloads are not kept, of millions of changes they would not fit into memory.
    """
    now = f"CASE WHEN op <> 'D' AND json_valid(payload) THEN payload ->> '{column}' END"
    ops = "'I', 'U', 'D'" if entity in _GONE else "'I', 'U'"
    return (
        f"SELECT '{column} of {entity} ' || changed.entity_id AS what"
        f" FROM (SELECT epoch, seq, entity_id, {now} AS place FROM read_parquet($files)"
        f" WHERE entity = '{entity}' AND op IN ({ops})) AS changed"
        f" JOIN staging.stg_{entity} AS known ON changed.entity_id = known.id"
        " ANTI JOIN aside ON aside.epoch = changed.epoch AND aside.seq = changed.seq"
        f" WHERE known._op <> 'D' AND changed.place IS DISTINCT FROM"
        f" CAST(known.{column} AS VARCHAR)"
    )
