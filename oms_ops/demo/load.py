"""Load the demo: the foundation, then day after day; run again, it finds its work done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import read_time, reading, run
from oms_ops.demo import assumptions as assume
from oms_ops.demo import source
from oms_ops.demo.days import Day
from oms_ops.demo.foundation import lay
from oms_ops.settings import settings

ACTOR = Actor(assume.ACTOR, "admin")


@dataclass(slots=True)
class Loaded:
    """What a load did: days simulated, orders and lines captured, orders refused."""

    days: int = 0
    orders: int = 0
    lines: int = 0
    rejected: int = 0


def load(
    engine: Engine, *, full: bool = False, progress: Callable[[int, int], None] | None = None
) -> Loaded:
    """Load the history that is not there yet; ``progress`` is told (days done, days in all).

    The history that a first load began is finished with that load's calendar, whatever the day is.
    """
    first, last = _span(engine)
    done = Loaded()
    if first and last and not full and (last - first).days + 1 >= source.WEEKS * 7:
        return done
    history = source.read(full=full, today=_today(), timezone=settings().timezone, first=first)
    if last is None:
        run(engine, lambda connection: lay(connection, ACTOR, history))
    # A day without orders is one on which the shop was closed.
    days = history.lines.partition_by("day", as_dict=True, maintain_order=True)
    for number, ((day,), lines) in enumerate(sorted(days.items()), 1):
        if last is not None and day <= last:
            continue
        result = run(engine, lambda c, d=day, o=lines: Day(c, ACTOR, history, d, o).run())  # type: ignore[misc]
        done.days += 1
        done.orders += result.orders
        done.lines += result.lines
        done.rejected += len(result.rejected)
        if progress:
            progress(number, len(days))
    return done


def _today() -> date:
    return clock.now().astimezone(settings().zone).date()


def _span(engine: Engine) -> tuple[date | None, date | None]:
    """Return the first and the last shop day with orders of the demo."""
    with reading(engine) as connection:
        row = connection.execute(
            sa.text("SELECT min(placed_at), max(placed_at) FROM orders WHERE channel = :channel"),
            {"channel": assume.CHANNEL},
        ).one()
    first, last = (read_time(value) for value in row)
    if first is None or last is None:
        return None, None
    zone = settings().zone
    return first.astimezone(zone).date(), last.astimezone(zone).date()
