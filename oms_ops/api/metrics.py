"""``GET /metrics``: what operations watch, in Prometheus' text format (0.0.4).

Counts and ages of what waits, nothing of whom it is about: like ``/healthz`` it asks for no key.
Finished orders are not counted: what is read grows with what is open, and is read at most once in
:data:`_KEPT` seconds. Requests are not counted here: with several worker processes each would know
its own only; the proxy in front of them sees all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy.engine import Connection, Engine

from oms_ops import clock
from oms_ops.api.parts import Database
from oms_ops.database import execute, read_time, reading
from oms_ops.feed import consumers

router = APIRouter(tags=["health"])

#: Seconds that an answer is good for: whoever may ask without a key may ask often.
_KEPT = 5.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge: its name, what it says, and its values by label (``""`` where there is none)."""

    name: str
    says: str
    values: tuple[tuple[str, float], ...]

    def lines(self) -> Iterable[str]:
        """Write it in the text format; our labels need no escaping."""
        yield f"# HELP {self.name} {self.says}"
        yield f"# TYPE {self.name} gauge"
        for label, value in self.values:
            yield f"{self.name}{f'{{{label}}}' if label else ''} {float(value)!r}"


class Kept:
    """The last answer, and the lock behind which one request renews it for all."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lock = threading.Lock()
        self._text, self._at = "", float("-inf")

    def text(self, engine: Engine) -> str:
        """Return the text, renewed where it is too old."""
        with self._lock:
            if time.monotonic() - self._at >= _KEPT:
                with reading(engine) as connection:
                    found = gauges(connection)
                self._text = "\n".join(line for each in found for line in each.lines()) + "\n"
                self._at = time.monotonic()
            return self._text


def gauges(connection: Connection) -> list[Gauge]:
    """Return every gauge as it is now."""
    orders = {"open": 0, "on_hold": 0} | dict(
        _rows(
            connection,
            "SELECT status, count(*) FROM orders WHERE status IN ('open', 'on_hold')"
            " GROUP BY status",
        )
    )
    waiting, oldest = _rows(
        connection,
        "SELECT count(*), min(created_at) FROM outbox_messages WHERE delivered_at IS NULL",
    )[0]
    return [
        Gauge(
            "oms_orders",
            "Orders that are not finished, by status.",
            tuple((f'status="{status}"', count) for status, count in sorted(orders.items())),
        ),
        _gauge("oms_outbox_waiting", "Messages that have not left.", waiting),
        _gauge("oms_outbox_oldest_seconds", "Age of the oldest of them.", _age(oldest)),
        _gauge(
            "oms_inbox_failed",
            "Messages of other systems that nothing could be made of.",
            _one(connection, "SELECT count(*) FROM inbox_messages WHERE status = 'failed'"),
        ),
        _gauge(
            "oms_low_stock_levels",
            "Stock levels at their threshold or below.",
            _one(
                connection,
                "SELECT count(*) FROM stock_levels"
                " WHERE low_threshold IS NOT NULL AND on_hand - allocated <= low_threshold",
            ),
        ),
        _gauge(
            "oms_change_log_seq",
            "Number of the newest change; it grows with every row that is written.",
            _one(connection, "SELECT max(seq) FROM change_log"),
        ),
        _gauge(
            "oms_change_log_horizon_seconds",
            "Age of the oldest transaction that keeps the feed's readers waiting.",
            _horizon(connection),
        ),
        *_consumers(connection),
    ]


def _gauge(name: str, says: str, value: float) -> Gauge:
    return Gauge(name, says, (("", value),))


def _rows(connection: Connection, statement: str) -> list[Any]:
    return list(execute(connection, statement, {}).fetchall())


def _one(connection: Connection, statement: str) -> float:
    return float(_rows(connection, statement)[0][0] or 0)


def _age(since: Any) -> float:
    moment = read_time(since)
    return 0.0 if moment is None else max(0.0, (clock.now() - moment).total_seconds())


def _horizon(connection: Connection) -> float:
    if connection.dialect.name == "sqlite":
        # One writer at a time: nothing is committed out of order.
        return 0.0
    return _one(
        connection,
        "SELECT extract(epoch FROM now() - min(xact_start)) FROM pg_stat_activity"
        " WHERE backend_xid IS NOT NULL AND datname = current_database()",
    )


def _consumers(connection: Connection) -> list[Gauge]:
    """Return how far each reader of the feed is behind; none where nobody reads it yet."""
    behind = consumers.lags(connection)
    if not behind:
        return []
    return [
        Gauge(
            "oms_feed_lag_changes",
            "Committed changes that a reader of the feed has not taken.",
            tuple((f'consumer="{name}"', lag.rows) for name, lag in behind.items()),
        ),
        Gauge(
            "oms_feed_lag_seconds",
            "Age of the oldest of them.",
            tuple((f'consumer="{name}"', lag.seconds) for name, lag in behind.items()),
        ),
    ]


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request, engine: Database) -> PlainTextResponse:
    """Tell how much waits, for Prometheus."""
    kept: Kept = request.app.state.metrics
    return PlainTextResponse(kept.text(engine), media_type=CONTENT_TYPE)
