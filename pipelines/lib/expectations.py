"""Great Expectations over pandas frames: the suites, and one small way to validate with them.

Great Expectations takes three seconds to import, so it is imported where it is used, and
:func:`warm_up` lets that happen while the run waits for a database. It validates whole frames in
memory: frames are therefore narrow, or aggregated by DuckDB first. Floats, not decimals, reach it;
exact money is tested by dbt and by the reconciliation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.lib.journal import Severity

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Expect:
    """One expectation: its Great Expectations class name, arguments, and what a failure does.

    ``ERROR`` blocks the publication, ``WARN`` is told and published.
    """

    kind: str
    arguments: Mapping[str, Any]
    severity: Severity = "ERROR"

    @property
    def about(self) -> str:
        """The columns that it is about."""
        return str(self.arguments.get("column") or ", ".join(self.arguments["column_list"]))


@dataclass(frozen=True, slots=True)
class Result:
    """How one expectation ended: ``unexpected`` of ``elements`` values, and some of those."""

    expectation: Expect
    passed: bool
    elements: int | None = None
    unexpected: int | None = None
    found: str = ""

    def __str__(self) -> str:
        """Return a failure for people."""
        warning = " (warning)" if self.expectation.severity == "WARN" else ""
        return f"{self.expectation.kind} on {self.expectation.about}: {self.found}{warning}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a suite, expectation by expectation."""

    suite: str
    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        """What was not met, what blocks first."""
        failed = [result for result in self.results if not result.passed]
        return tuple(sorted(failed, key=lambda result: result.expectation.severity))

    @property
    def passed(self) -> bool:
        """Whether every expectation was met."""
        return not self.failures

    @property
    def severity(self) -> Severity:
        """What the suite's failure does: that of the gravest expectation that was not met."""
        failed = self.failures
        return failed[0].expectation.severity if failed else "ERROR"

    @property
    def detail(self) -> str:
        """One line for people."""
        if self.passed:
            return f"{len(self.results)} expectations met"
        told = "; ".join(map(str, self.failures))
        return f"{len(self.failures)} of {len(self.results)} failed: {told}"


def not_null(column: str) -> Expect:
    """No value is missing."""
    return Expect("ExpectColumnValuesToNotBeNull", {"column": column})


def one_of(column: str, values: Sequence[Any]) -> Expect:
    """Every value is one of ``values``."""
    return Expect("ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})


def between(column: str, low: float | None = None, high: float | None = None) -> Expect:
    """Every value lies between the bounds, the bounds included."""
    return Expect(
        "ExpectColumnValuesToBeBetween", {"column": column, "min_value": low, "max_value": high}
    )


def unique(*columns: str) -> Expect:
    """No two rows have the same values in ``columns``."""
    if len(columns) == 1:
        return Expect("ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Expect("ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def warned(*expectations: Expect) -> tuple[Expect, ...]:
    """Return expectations whose failure is told and does not block."""
    return tuple(replace(expectation, severity="WARN") for expectation in expectations)


def warm_up() -> None:
    """Begin the import in the background; validation waits for it by itself."""
    # Not in the background: while PyArrow makes its MapScalar, a list is a Mapping to whoever asks,
    # and Python keeps that answer. Polars then takes the rows that land for a dictionary.
    import pyarrow as pa  # noqa: F401

    threading.Thread(target=_session, name="great-expectations", daemon=True).start()


def validate(suite: str, frame: pd.DataFrame, expectations: Sequence[Expect]) -> Outcome:
    """Validate ``frame`` (from ``relation.df()``) against ``expectations``."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    # Great Expectations gives the results in an order of its own; the number says whose each is.
    definition = gx.ExpectationSuite(
        name=suite,
        expectations=[
            getattr(gxe, e.kind)(**e.arguments, severity=_SEVERITIES[e.severity], meta={"at": at})
            for at, e in enumerate(expectations)
        ],
    )
    batch = _session().get_batch(batch_parameters={"dataframe": frame})
    found = {r.expectation_config.meta["at"]: r for r in batch.validate(definition).results}
    results = tuple(_result(e, found[at]) for at, e in enumerate(expectations))
    return Outcome(suite, results)


#: Our words in Great Expectations'.
_SEVERITIES: Mapping[Severity, str] = {"ERROR": "critical", "WARN": "warning"}

_lock = threading.Lock()


def _session() -> Any:
    with _lock:
        return _open_session()


@lru_cache(maxsize=1)
def _open_session() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole")


def _result(expectation: Expect, result: Any) -> Result:
    told = result.result
    found = told.get("partial_unexpected_list") or told.get("observed_value")
    error = result.exception_info.get("exception_message") if result.exception_info else None
    return Result(
        expectation,
        bool(result.success),
        told.get("element_count"),
        told.get("unexpected_count"),
        "" if result.success else str(error or found),
    )
