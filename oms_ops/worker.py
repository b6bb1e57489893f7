"""What happens unasked: holds expire, promises are renewed, messages heard, retried, delivered.

Each task works in small transactions of its own and leaves the rest for the next round; a task that
fails is logged and does not keep the others from their turn.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from sqlalchemy.engine import Engine

from oms_ops import clock
from oms_ops.access.actor import SYSTEM
from oms_ops.care import commands as care
from oms_ops.database import run
from oms_ops.exchange import inbox
from oms_ops.fulfilment import arrivals
from oms_ops.fulfilment.carriers import events
from oms_ops.notifications import delivery
from oms_ops.notifications.smtp import Smtp
from oms_ops.orders import collecting, promises, queries
from oms_ops.returns import requests
from oms_ops.settings import settings

Task: TypeAlias = Callable[[Engine], int]

_log = logging.getLogger(__name__)
_BATCH = 500


def expire_holds(engine: Engine) -> int:
    """Let go of the basket holds that are over; return how many."""
    done = 0
    while batch := run(
        engine, lambda connection: arrivals.expire_baskets(connection, clock.now(), limit=_BATCH)
    ):
        done += batch
    return done


def renew_promises(engine: Engine) -> int:
    """Renew the promised dates that are overdue; return how many pairs of SKU and warehouse."""
    return run(engine, lambda connection: promises.refresh(connection, SYSTEM))


def hear_carriers(engine: Engine) -> int:
    """Take what carriers have sent; return how many messages."""
    return sum(done.messages for done in events.sync(engine))


def deliver_messages(engine: Engine) -> int:
    """Send what waits in the outbox, where a mail server is named; return how many left."""
    chosen = settings()
    if not chosen.smtp_url:
        return 0
    return delivery.deliver(engine, Smtp(chosen.smtp_url, chosen.mail_from), queries.tracking_urls)


def retry_inbox(engine: Engine) -> int:
    """Try again what could not be made of other systems' messages; return how many are done."""
    return inbox.retry_due(engine)


TASKS: dict[str, Task] = {
    "gateway messages": collecting.hear,
    "payment operations": collecting.perform,
    "carrier messages": hear_carriers,
    "closed tickets": care.close_solved,
    "delivered messages": deliver_messages,
    "expired holds": expire_holds,
    "expired returns": requests.expire,
    "inbox messages": retry_inbox,
    "renewed promises": renew_promises,
}


def work_once(engine: Engine) -> dict[str, int | None]:
    """Give every task one turn; return what each did, None where it failed."""
    done: dict[str, int | None] = {}
    for name, task in TASKS.items():
        try:
            done[name] = task(engine)
        except Exception:  # noqa: BLE001 - whatever it is, the other tasks have their turn
            _log.exception("%s failed; it is tried again in the next round", name)
            done[name] = None
    return done


def work(engine: Engine, *, every: float, stop: threading.Event) -> None:
    """Work every ``every`` seconds until ``stop`` is set."""
    while not stop.is_set():
        done = {name: count for name, count in work_once(engine).items() if count}
        if done:
            _log.info("%s", ", ".join(f"{count} {name}" for name, count in done.items()))
        stop.wait(every)
