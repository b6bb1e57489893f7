"""Engines, column types, and the one place that begins, locks and retries write transactions.

Two databases are served: PostgreSQL (psycopg 3) and SQLite in WAL mode. PostgreSQL transactions
run at READ COMMITTED: every rule that races is held by a guarded UPDATE, a unique constraint or a
CHECK, so nothing depends on a higher level. SQLite has one writer; a file lock in front of
``BEGIN IMMEDIATE`` queues the writers fairly instead of letting them starve one another in
busy-wait.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from pydantic_core import from_json, to_json
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

T = TypeVar("T")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware moment in UTC: ``timestamptz`` on PostgreSQL, fixed-width ISO text on SQLite.

    SQLite compares times as text, so the text always carries six decimals and ends in ``Z``.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Store text on SQLite, timestamptz elsewhere."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(27))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Refuse naive times; write UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time must carry a time zone")
        value = value.astimezone(UTC)
        if dialect.name != "sqlite":
            return value
        # A third of the time that strftime takes.
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value.astimezone(UTC)  # type: ignore[no-any-return]


_UTC = UtcDateTime()

#: SQLite autoincrements only a column typed exactly INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

Id = Annotated[int, mapped_column(BigId, primary_key=True)]

#: For a table of which rows are deleted, last in ``__table_args__``: SQLite would give the greatest
#: id to the next row once its row is gone, and the feed, the history and whoever remembers the id
#: would take one row for the other. PostgreSQL never gives an id twice.
KEEPS_IDS = {"sqlite_autoincrement": True}
Count = Annotated[int, mapped_column(sa.BigInteger, default=0, server_default="0")]
Minor = Annotated[int, mapped_column(sa.BigInteger, default=0, server_default="0")]
Moment = Annotated[datetime, mapped_column(UtcDateTime)]


class Base(DeclarativeBase):
    """The one metadata of the operational database."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Tracked:
    """A row that changes: its version, and who changed it last and when."""

    version: Mapped[int] = mapped_column(sa.Integer, default=1, server_default="1")
    changed_by: Mapped[str] = mapped_column(sa.Text)
    changed_at: Mapped[Moment]


def numbered(prefix: str) -> Any:
    """Return a stored computed column: the public number of a document, from its id."""
    return mapped_column(
        sa.Text, sa.Computed(f"'{prefix}-' || CAST(10000000 + id AS TEXT)", persisted=True)
    )


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """Return an engine for ``url`` (``sqlite:///path`` or ``postgresql://...``)."""
    # Who used a connection last has warmed its pages and its prepared statements: it goes first.
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("SQLite needs a file: several connections share the database")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(
            parsed,
            pool_size=pool_size,
            pool_use_lifo=True,
            connect_args={"timeout": 30, "check_same_thread": False},
        )
        event.listen(engine, "connect", _prepare_sqlite)
        # The driver must not begin by itself: BEGIN IMMEDIATE is issued in `transaction`.
        event.listen(engine, "begin", lambda connection: None)
        return engine
    engine = sa.create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,
        json_deserializer=from_json,
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _ping_if_idle)
    return engine


#: Seconds after which an idle PostgreSQL connection is tried before it is trusted: asking every
#: time would be one round trip in six of a capture.
_TRUSTED = 5.0


def _note_use(_: Any, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_if_idle(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < _TRUSTED:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        # The pool then opens a new connection instead.
        raise DisconnectionError from error


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        # Every commit is on disk before it is answered; NORMAL could lose the last ones.
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "cache_size=-65536",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Begin a write transaction, commit it at the end of the block, roll it back on an error."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            yield connection
        return
    with engine.connect() as connection, _writers_queue(connection):
        connection.begin()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """Give a connection on which each statement through :func:`execute` commits by itself."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            yield connection
            return
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        try:
            yield connection
        finally:
            if driver.closed:
                # Its error goes on; the other idle connections may be as dead as this one.
                engine.dispose(close=False)
            else:
                driver.autocommit = False


@contextmanager
def immediate(connection: Connection) -> Iterator[None]:
    """Make the block one write transaction on a connection of :func:`autocommit`."""
    if connection.dialect.name != "sqlite":
        driver: Any = connection.connection.driver_connection
        with driver_errors(connection, "a transaction"), driver.transaction():
            yield
        return
    with _writers_queue(connection):
        execute(connection, "BEGIN IMMEDIATE", {})
        try:
            yield
        except BaseException:
            execute(connection, "ROLLBACK", {})
            raise
        execute(connection, "COMMIT", {})


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection for reading, with one snapshot for the whole block."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.begin()
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            connection.begin()
        yield connection
        # There is nothing to keep, but at a rollback the PostgreSQL driver forgets what it has
        # prepared. After an error the pool rolls back.
        connection.commit()


@contextmanager
def _writers_queue(connection: Connection) -> Iterator[None]:
    # An open file for each connection: flock then queues threads as it queues processes.
    queue = connection.info.get("queue")
    if queue is None:
        queue = connection.info["queue"] = _Queue(f"{connection.engine.url.database}.lock")
    fcntl.flock(queue.handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(queue.handle, fcntl.LOCK_UN)


class _Queue:
    """The open file of a connection, closed when the pool lets the connection go."""

    def __init__(self, path: str) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def __del__(self) -> None:
        os.close(self.handle)


#: What our own functions in PostgreSQL raise where Python raises :class:`Retry`.
LOST_RACE = "OM001"

#: PostgreSQL: serialisation failure, deadlock, lock not available.
_RETRYABLE_STATES = frozenset({"40001", "40P01", "55P03", LOST_RACE})

#: PostgreSQL's classes of states: no connection, no room for one more, ended or not ready yet.
_AWAY = frozenset({"08", "53", "57"})


class Retry(Exception):
    """Raised inside a unit of work to roll it back and try again on fresh rows."""


def retryable(error: BaseException) -> bool:
    """Tell whether the database refused only because of somebody else's transaction."""
    if isinstance(error, Retry):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state in _RETRYABLE_STATES or "database is locked" in str(error.orig)


@contextmanager
def unique_again() -> Iterator[None]:
    """Raise Retry where somebody else has just written the same unique value: look again."""
    try:
        yield
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) == "23505" or "UNIQUE" in str(error.orig):
            raise Retry("somebody else was first") from error
        raise


def unavailable(error: BaseException) -> bool:
    """Tell whether the database could not be asked, or went away while it was."""
    if isinstance(error, sa.exc.TimeoutError):
        return True
    if not isinstance(error, DBAPIError) or not hasattr(error.orig, "sqlstate"):
        return False
    state = getattr(error.orig, "sqlstate", None)
    # Without a state it is the driver that speaks: refused, cut, or closed.
    return state[:2] in _AWAY if state else isinstance(error, sa.exc.OperationalError)


def run(engine: Engine, work: Callable[[Connection], T], *, attempts: int = 8) -> T:
    """Run ``work`` in one write transaction, again on a deadlock or a lost race.

    ``work`` must be safe to run from its start: it keeps no state outside its connection.
    """
    for attempt in range(attempts):
        try:
            with transaction(engine) as connection:
                return work(connection)
        except (Retry, DBAPIError) as error:
            if attempt == attempts - 1 or not retryable(error):
                raise
        time.sleep(random.uniform(0, 0.002 * 2**attempt))  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def execute(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> Any:
    """Run textual SQL with ``:name`` parameters on the driver itself; return the driver's cursor.

    For hot paths: SQLAlchemy's own ``text`` spends more time on a small statement than the
    database does. Parameters and rows are the driver's (times by :func:`as_time`, JSON as text),
    rows are plain tuples, and errors are SQLAlchemy's as everywhere else.
    """
    if connection.dialect.name != "sqlite":
        statement = _pyformat(statement)
    # The driver's own, for both: found without asking the dialect once more.
    driver: Any = connection.connection.dbapi_connection
    try:
        return driver.execute(statement, parameters)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy(connection, statement, error) from error


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send the block's :func:`execute` calls to PostgreSQL without waiting for each answer.

    The statements still run one after another, each on what the one before left. Fetching waits
    for the answers; a row count is known only at the end of the block. SQLite has no round trips
    to save.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    with driver_errors(connection, "a pipeline"), driver.pipeline():
        yield


@contextmanager
def driver_errors(connection: Connection, statement: str) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy does."""
    try:
        yield
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy(connection, statement, error) from error


def _as_sqlalchemy(connection: Connection, statement: str, error: Exception) -> BaseException:
    base = connection.dialect.loaded_dbapi.Error
    return DBAPIError.instance(statement, None, error, base, dialect=connection.dialect)


@lru_cache(maxsize=256)
def _pyformat(statement: str) -> str:
    """Write ``:name`` as the PostgreSQL driver wants it; ``::type`` is left alone."""
    return re.sub(r"(?<!:):([a-z_][a-z_0-9]*)", r"%(\1)s", statement.replace("%", "%%"))


#: Up to so many rows, a statement on a :func:`rowset` is planned for its number of rows.
_FEW = 12


def rowset(
    connection: Connection, name: str, columns: dict[str, str], *, count: int | None = None
) -> str:
    """Return SQL that reads the JSON parameter ``:name`` as a table: ``FROM ({rowset(...)}) AS d``.

    ``columns`` maps each name to its PostgreSQL type (``bigint``, ``text``, ``boolean``, ...); the
    parameter's value comes from :func:`as_rows`. One statement then serves one row or a hundred
    thousand, whatever the driver's limit on parameters. PostgreSQL cannot look into the JSON and
    plans for a hundred rows; ``count``, the number of rows where it is known, keeps it from
    scanning a table for three.
    """
    if connection.dialect.name == "sqlite":
        picked = ", ".join(f"json_extract(value, '$.{c}') AS {c}" for c in columns)
        return f"SELECT {picked} FROM json_each(:{name})"
    typed = ", ".join(f"{c} {kind}" for c, kind in columns.items())
    limit = f" LIMIT {count}" if count is not None and count <= _FEW else ""
    return f"SELECT * FROM jsonb_to_recordset(CAST(:{name} AS jsonb)) AS r({typed}){limit}"


def as_rows(rows: Iterable[dict[str, Any]]) -> str:
    """Return the value of a :func:`rowset` parameter."""
    return as_json(list(rows))


def as_json(value: Any) -> str:
    """Return JSON text: three times as fast as the standard library's on a small document."""
    return to_json(value).decode()


def ids(connection: Connection, name: str) -> str:
    """Return SQL that reads the JSON list of integers ``:name``, for ``WHERE id IN (...)``."""
    if connection.dialect.name == "sqlite":
        return f"SELECT value FROM json_each(:{name})"
    return f"SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST(:{name} AS jsonb))"


def as_ids(values: Iterable[int]) -> str:
    """Return the value of an :func:`ids` parameter."""
    return as_json([int(value) for value in values])


def as_time(connection: Connection, moment: datetime) -> Any:
    """Return ``moment`` as a parameter for textual SQL on this database."""
    return _UTC.process_bind_param(moment, connection.dialect)


def read_time(value: Any) -> datetime | None:
    """Return a time that textual SQL selected, aware and in UTC."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value)


def read_day(value: Any) -> date | None:
    """Return a date that textual SQL selected: SQLite keeps it as text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def for_update(connection: Connection) -> str:
    """Return the clause that locks selected rows; SQLite's one writer needs none."""
    return "" if connection.dialect.name == "sqlite" else "FOR UPDATE"
