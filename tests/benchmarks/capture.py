"""Single-order capture per second, in turns with the same order written without the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oms_ops.access.actor import Actor
from oms_ops.database import make_engine
from oms_ops.orders.capture import capture
from tests.benchmarks import clients, databases, effects, every_rule, report
from tests.benchmarks.clients import Case, Measured, Place
from tests.benchmarks.handwritten import Handwritten
from tests.benchmarks.report import NAMES, Aim, Figure
from tests.benchmarks.server_call import ServerCall
from tests.benchmarks.view_call import ViewCall

SIDES = ("ours", "hand", "call")
AIMS = {"hand": Aim(least=1.0), "call": Aim(least=0.5)}
HOT = Aim(least=0.7)


def measure(
    dialect: str, *, preload: int, rounds: int, seconds: float, crowds: Sequence[int]
) -> list[Figure]:
    """Measure each number of clients, ``preload`` lines being there; a round takes ``seconds``."""
    cases = [(side, hot) for hot in (False, True) for side in SIDES]
    figures = []
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        databases.fill(engine, 2, preload // 2)
        every_rule.publish(engine)
        if dialect == "postgresql":
            ServerCall.install(engine)
        databases.analyse(engine)
        before = effects.last_change(engine)
        effects.compare(engine, places(url))
        for crowd in crowds:
            measured = clients.in_turns(
                places, (url,), cases, clients=crowd, rounds=rounds, seconds=seconds
            )
            figures += _figures(f"{NAMES[dialect]}, {report.clients(crowd)}", measured)
        effects.count(engine, SIDES, before)
        engine.dispose()
    return figures


def places(url: str) -> Mapping[str, Place]:
    """Return what each side calls to place an order, over a fresh connection of its own."""
    engine = make_engine(url, pool_size=1)
    actor = Actor("ours", "clerk")
    call = ViewCall if engine.dialect.name == "sqlite" else ServerCall
    return {
        "ours": lambda order, key: capture(engine, actor, order, idempotency_key=key),
        "hand": Handwritten(url, "hand").place,
        "call": call(url, "call").place,
    }


def _figures(crowd: str, measured: Mapping[Case, Measured]) -> list[Figure]:
    figures = [
        report.compared(
            "capture",
            f"{crowd}, {'hot SKU' if hot else 'uniform'}",
            measured["ours", hot],
            side,
            measured[side, hot],
            AIMS[side],
        )
        for hot in (False, True)
        for side in SIDES[1:]
    ]
    hot, uniform = measured["ours", True], measured["ours", False]
    beside = f"uniform {report.rate(uniform.rate)}/s"
    ours = f"{report.rate(hot.rate)}/s"
    figures.append(Figure("capture", f"{crowd}, hot SKU", ours, beside, hot.ratios(uniform), HOT))
    return figures
