"""Tells, at the cost of a look, that there is nothing to do: the case of most ticks.

No Dagster, no dbt and no data frame is needed to find out, so none is imported: a command ends in
half a second and a schedule skips its tick without starting a process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import Engine, make_url

from oms_ops import clock
from oms_ops.database import make_engine, reading
from oms_ops.feed import pruning
from oms_ops.feed.reader import START, changes_sql
from oms_ops.settings import settings
from pipelines.lib import lake, status
from pipelines.lib.files import Busy, exclusive


class NoFeed(RuntimeError):
    """There is no operational database, or it has no change feed."""


def open_feed() -> Engine:
    """Return an engine on the operational database.

    Raises:
        NoFeed: the database is missing or empty; the message says what to do.
    """
    url = settings().url
    path = make_url(url).database
    if url.startswith("sqlite") and not Path(path or "").exists():
        # To open it would create it.
        raise NoFeed(f"There is no database {path}. Create it with `oms init`.")
    engine = make_engine(url)
    if not inspect(engine).has_table("change_log"):
        engine.dispose()
        raise NoFeed("The database has no change feed. Create or migrate it with `oms init`.")
    return engine


def anything_waits(engine: Engine, folder: Path) -> bool:
    """Tell whether a landing into ``folder`` would bring anything, or find the lake's end gone."""
    at = lake.cursor(folder)
    with reading(engine) as connection:
        query = changes_sql(connection.dialect.name, at, 1)
        if connection.exec_driver_sql(query).first() is not None:
            return True
        pruned = pruning.pruned_upto(connection)
        if at.epoch == 0 or at <= pruned:
            return at < pruned and (at == START or at.epoch > 0)
        # A restored database would have nothing new for a long time, and yet not what has landed.
        last = f"SELECT 1 FROM change_log WHERE epoch = {at.epoch} AND seq = {at.seq}"
        return connection.exec_driver_sql(last).first() is None


def settle() -> str | None:
    """Say what is current when a run would change nothing, and note that it was looked at.

    Returns None when there is something to do, or when a run is under way and will tell.
    """
    shop = settings()
    try:
        with exclusive(shop.home / "pipeline.lock", wait_seconds=0):
            last = status.load(shop.published)
            if last is None or last.basis is None or _stale(last.basis):
                return None
            now = clock.now().isoformat()
            message = f"Nothing changed since {last.snapshot} was published."
            again = replace(
                last, state="unchanged", started_at=now, finished_at=now, message=message,
                failed_checks=(),
            )  # fmt: skip
            again.save(shop.published)
            return message
    except Busy:
        return None


def _stale(basis: status.Basis) -> bool:
    """Tell whether a run now would publish something else than the snapshot made from ``basis``."""
    shop = settings()
    folder = shop.lake / "changes"
    now = status.basis(lake.cursor(folder), clock.now())
    if now != basis or not status.is_current(shop.published, now):
        return True
    engine = open_feed()
    try:
        return anything_waits(engine, folder)
    finally:
        engine.dispose()
