"""Single-order capture per second, in turns with the same order written without the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Engine

from oms_ops.access.actor import Actor
from oms_ops.database import make_engine, reading
from oms_ops.orders.capture import capture
from tests.benchmarks import clients, databases, every_rule
from tests.benchmarks.clients import Case, Measured, Place
from tests.benchmarks.handwritten import Handwritten
from tests.benchmarks.report import NAMES, Figure, rate, spread
from tests.benchmarks.server_call import ServerCall

SIDES = {"sqlite": ("ours", "hand"), "postgresql": ("ours", "hand", "call")}
_SECTION = "Capture, orders/s"


def measure(
    dialect: str, *, preload: int, rounds: int, seconds: float, crowds: Sequence[int]
) -> list[Figure]:
    """Measure each number of clients, ``preload`` lines being there; a round takes ``seconds``."""
    sides = SIDES[dialect]
    cases = [(side, hot) for hot in (False, True) for side in sides]
    figures = []
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        databases.fill(engine, 2, preload // 2)
        every_rule.publish(engine)
        if "call" in sides:
            ServerCall.install(engine)
        databases.analyse(engine)
        before = _last_change(engine)
        for crowd in crowds:
            measured = clients.in_turns(
                places, (url, sides), cases, clients=crowd, rounds=rounds, seconds=seconds
            )
            figures += _figures(dialect, crowd, measured)
        _check(engine, sides, before)
        engine.dispose()
    return figures


def places(url: str, sides: Sequence[str]) -> Mapping[str, Place]:
    """Return what each side calls to place an order, over a fresh connection of its own."""
    found: dict[str, Place] = {}
    if "ours" in sides:
        engine = make_engine(url, pool_size=1)
        actor = Actor("ours", "clerk")
        found["ours"] = lambda order, key: capture(engine, actor, order, idempotency_key=key)
    if "hand" in sides:
        found["hand"] = Handwritten(url, "hand").place
    if "call" in sides:
        found["call"] = ServerCall(url, "call").place
    return found


def _figures(dialect: str, crowd: int, measured: Mapping[Case, Measured]) -> list[Figure]:
    figures = []
    for hot in (False, True):
        case = f"{NAMES[dialect]}, {crowd} client{'s' if crowd > 1 else ''}"
        ours = measured["ours", hot]
        for side in SIDES[dialect][1:]:
            other = measured[side, hot]
            note = f"ours {spread(ours)}, {side} {spread(other)}"
            name = f"{case}, {'hot SKU' if hot else 'uniform'}"
            figures.append(_figure(name, ours, side, other, note))
        if hot:
            uniform = measured["ours", False]
            figures.append(_figure(f"{case}, hot against uniform", ours, "uniform", uniform, ""))
    return figures


def _figure(case: str, ours: Measured, side: str, other: Measured, note: str) -> Figure:
    beside = f"{side} {rate(other.rate)}"
    return Figure(_SECTION, case, rate(ours.rate), beside, f"{ours.ratio(other):.2f}", note)


def _last_change(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(connection.exec_driver_sql("SELECT max(seq) FROM change_log").scalar_one())


def _check(engine: Engine, sides: Sequence[str], before: int) -> None:
    """All sides must have left the same rows an order, or they were not the same work."""
    with reading(engine) as connection:
        changes = connection.exec_driver_sql(
            "SELECT changed_by, entity, op, count(*) FROM change_log"
            f" WHERE seq > {before} GROUP BY changed_by, entity, op"
        ).all()
        keys = connection.exec_driver_sql(
            "SELECT scope, count(*) FROM idempotency_keys GROUP BY scope"
        ).all()
        messages = connection.exec_driver_sql("SELECT count(*) FROM outbox_messages").scalar_one()
    counts: dict[Any, Counter[Any]] = {side: Counter() for side in sides}
    for side, entity, op, count in changes:
        counts[side][entity, op] = count
    orders = {side: counts[side]["orders", "I"] for side in sides}
    for side in sides:
        assert {what: count / orders[side] for what, count in counts[side].items()} == _ROWS, side
    assert dict(map(tuple, keys)) == orders
    assert messages == sum(orders.values())


#: Changes per order that the feed must carry.
_ROWS = {
    ("orders", "I"): 1,
    ("order_lines", "I"): 3,
    ("shipments", "I"): 1,
    ("shipment_lines", "I"): 3,
    ("payments", "I"): 1,
    ("stock_levels", "U"): 3,
}
