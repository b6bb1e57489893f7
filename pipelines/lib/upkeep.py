"""What keeps the lake and the log from growing without end; once a day is often enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import run
from oms_ops.feed import consumers, pruning
from oms_ops.settings import settings
from pipelines.lib import compaction, idle, lake, objects, rebuilding
from pipelines.lib.compaction import Compaction

PIPELINE = Actor("pipeline", "engineer")


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done: the lake's files merged, and changes deleted from the log."""

    lake: Compaction
    pruned: int

    def __str__(self) -> str:
        """Return it for logs and people."""
        return (
            f"{self.lake.before:,} files of the lake made {self.lake.after:,},"
            f" {self.lake.dropped:,} superseded states dropped,"
            f" {self.pruned:,} changes pruned from the log"
        )


def tend() -> Upkeep:
    """Compact the lake and prune the log, as the shop's settings say; safe at any time."""
    shop = settings()
    folder = shop.lake / "changes"
    keep = timedelta(days=shop.lake_keep_days) if shop.lake_keep_days else None
    merged = compaction.compact(
        folder,
        rebuilding.reached(shop.warehouse),
        objects.opened(shop.lake_store),
        keep_since=clock.now() - keep if keep else None,
    )
    return Upkeep(merged, _prune() if shop.feed_keep_days else 0)


def _prune() -> int:
    shop = settings()
    keep = timedelta(days=shop.feed_keep_days)
    engine = idle.open_feed()
    done = 0
    try:
        # The database may have been restored since: what the lake really has is what counts.
        at = lake.cursor(shop.lake / "changes")
        run(engine, lambda connection: consumers.note(connection, consumers.LAKE, at))
        while count := run(engine, lambda connection: pruning.prune(connection, PIPELINE, keep)):
            done += count
    finally:
        engine.dispose()
    return done
