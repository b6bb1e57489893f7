"""The triggers that fill the change log, generated from the tables for both databases.

Triggers, because they see every writer: the services, bulk statements and plain SQL alike, in the
writer's own transaction. They are installed again after every migration, so that a new column is
in the payload from its first row on.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from oms_ops.feed.entities import ENTITIES, LEDGERS, SECRET_COLUMNS

_OPERATIONS = {"INSERT": ("I", "NEW"), "UPDATE": ("U", "NEW"), "DELETE": ("D", "OLD")}

#: SQL on a change: it deleted what a shipment had.
LOST = "entity IN ('shipment_lines', 'picks') AND op = 'D'"

_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION oms_log_change() RETURNS trigger LANGUAGE plpgsql
SET timezone = 'UTC' AS $$
DECLARE
    changed record;
    version_after int := 1;
    payload json;
BEGIN
    IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
    IF TG_ARGV[0] = 'versioned' THEN version_after := coalesce(changed.version, 1); END IF;
    IF TG_NARGS = 1 THEN
        payload := row_to_json(changed);
    ELSE
        payload := (to_jsonb(changed) - TG_ARGV[1:])::json;
    END IF;
    INSERT INTO change_log (epoch, entity, entity_id, op, version, payload, changed_by, occurred_at)
    VALUES (
        (SELECT epoch FROM feed_state), TG_TABLE_NAME, changed.id, left(TG_OP, 1), version_after,
        payload, changed.changed_by, clock_timestamp()
    );
    RETURN NULL;
END $$
"""

_POSTGRESQL_REFUSAL = """
CREATE OR REPLACE FUNCTION oms_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%% is a ledger: its rows are never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$
"""


def install(connection: Connection) -> None:
    """Create or replace the triggers of every entity; safe to run again."""
    statements = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    for statement in statements(connection):
        connection.exec_driver_sql(statement)
    # The history of a shipment finds the lines and picks that it lost; nothing else is indexed.
    connection.exec_driver_sql("DROP INDEX IF EXISTS ix_change_log_gone")
    connection.exec_driver_sql(
        "CREATE INDEX IF NOT EXISTS ix_change_log_lost ON change_log"
        f" (({shipment_of(connection.dialect.name)})) WHERE {LOST}"
    )


def shipment_of(dialect: str, alias: str = "") -> str:
    """Return SQL for the shipment in the payload of a change of a shipment's line or pick."""
    payload = f"{alias}.payload" if alias else "payload"
    if dialect == "sqlite":
        return f"json_extract({payload}, '$.shipment_id')"
    return f"CAST({payload} ->> 'shipment_id' AS bigint)"


def payload_sql(entity: str, row: str) -> str:
    """Return SQL for the payload of a change of an entity's ``row`` on PostgreSQL, as JSON."""
    secret = ", ".join(f"'{name}'" for name in sorted(SECRET_COLUMNS.get(entity, ())))
    return f"(to_jsonb({row}) - ARRAY[{secret}])::json" if secret else f"row_to_json({row})"


def columns_of(connection: Connection, entity: str) -> list[str]:
    """Return the columns of an entity that the feed carries, as the table is now."""
    secret = SECRET_COLUMNS.get(entity, frozenset())
    if connection.dialect.name == "sqlite":
        # table_xinfo lists computed columns too; PRAGMA reads the table as it is now.
        rows = connection.exec_driver_sql(f"PRAGMA table_xinfo({entity})").mappings()
        names = [row["name"] for row in rows]
    else:
        names = [c["name"] for c in sa.inspect(connection).get_columns(entity)]
    return [name for name in names if name not in secret]


def _sqlite(connection: Connection) -> Iterator[str]:
    for entity in ENTITIES:
        columns = columns_of(connection, entity)
        for operation, (op, row) in _OPERATIONS.items():
            name = f"oms_feed_{entity}_{operation.lower()}"
            pairs = ", ".join(f"'{column}', {row}.{column}" for column in columns)
            # A shop's own column of that name may be empty.
            version = f"coalesce({row}.version, 1)" if "version" in columns else "1"
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield (
                f"CREATE TRIGGER {name} AFTER {operation} ON {entity} BEGIN "
                "INSERT INTO change_log"
                " (epoch, entity, entity_id, op, version, payload, changed_by, occurred_at) "
                f"VALUES ((SELECT epoch FROM feed_state), '{entity}', {row}.id, '{op}', {version},"
                f" json_object({pairs}), {row}.changed_by,"
                " strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')); END"
            )
    for ledger in LEDGERS:
        for operation in ("update", "delete"):
            name = f"oms_ledger_{ledger}_{operation}"
            yield f"DROP TRIGGER IF EXISTS {name}"
            yield (
                f"CREATE TRIGGER {name} BEFORE {operation.upper()} ON {ledger} BEGIN "
                f"SELECT RAISE(ABORT, '{ledger} is a ledger: its rows are never changed"
                " or deleted'); END"
            )


def _postgresql(connection: Connection) -> Iterator[str]:
    # Committed transactions below the horizon are read in this order.
    yield "ALTER TABLE change_log ALTER COLUMN xid SET DEFAULT pg_current_xact_id()"
    yield "CREATE INDEX IF NOT EXISTS ix_change_log_cursor ON change_log (epoch, xid, seq)"
    yield _POSTGRESQL_FUNCTION
    yield _POSTGRESQL_REFUSAL
    rows = connection.exec_driver_sql(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND column_name = 'version'"
    )
    versioned = frozenset(str(row[0]) for row in rows)
    for entity in ENTITIES:
        first = "versioned" if entity in versioned else ""
        words = [first, *sorted(SECRET_COLUMNS.get(entity, ()))]
        told = ", ".join(f"'{word}'" for word in words)
        yield (
            f"CREATE OR REPLACE TRIGGER oms_feed AFTER INSERT OR UPDATE OR DELETE ON {entity}"
            f" FOR EACH ROW EXECUTE FUNCTION oms_log_change({told})"
        )
    for ledger in LEDGERS:
        yield (
            f"CREATE OR REPLACE TRIGGER oms_ledger BEFORE UPDATE OR DELETE ON {ledger}"
            " FOR EACH ROW EXECUTE FUNCTION oms_refuse_change()"
        )
