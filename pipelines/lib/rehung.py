"""Whether a landed change hangs a row on another row than the warehouse knows.

Increments do again what hangs together with whatever changed. What a row hung on before nobody
tells them once its staging table has the new state, so its old place would keep it. No service
does this; plain SQL can.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

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


def rehung(warehouse: Path, files: Sequence[Path]) -> str | None:
    """Return what a change in ``files`` of the lake hangs elsewhere, None where nothing is."""
    if not files:
        return None
    with duckdb.connect(warehouse, read_only=True) as connection:
        staged = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'staging'"
        ).fetchall()
        queries = [
            f"SELECT '{column} of {entity} ' || changed.entity_id AS what"
            f" FROM changed JOIN staging.stg_{entity} AS known ON changed.entity_id = known.id"
            f" WHERE changed.entity = '{entity}' AND (changed.payload ->> '{column}')"
            f" IS DISTINCT FROM CAST(known.{column} AS VARCHAR)"
            for entity, columns in _KEYS.items()
            if (f"stg_{entity}",) in staged
            for column in columns
        ]
        if not queries:
            return None
        # What is no JSON is in quarantine.
        row = connection.execute(
            "WITH changed AS MATERIALIZED (SELECT entity, entity_id, payload FROM read_parquet(?)"
            " WHERE op = 'U' AND list_contains(?, entity) AND json_valid(payload))"
            f" {' UNION ALL '.join(queries)} LIMIT 1",
            [[str(file) for file in files], list(_KEYS)],
        ).fetchone()
    return row[0] if row else None
