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
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a suite: how many expectations it has, and what each failed one found."""

    suite: str
    expectations: int
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation was met."""
        return not self.failures

    @property
    def detail(self) -> str:
        """One line for people."""
        if self.passed:
            return f"{self.expectations} expectations met"
        return f"{len(self.failures)} of {self.expectations} failed: " + "; ".join(self.failures)


@dataclass(frozen=True, slots=True)
class Expect:
    """One expectation: its Great Expectations class name and arguments."""

    kind: str
    arguments: Mapping[str, Any]


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


def warm_up() -> None:
    """Begin the import in the background; validation waits for it by itself."""
    threading.Thread(target=_session, name="great-expectations", daemon=True).start()


def validate(suite: str, frame: pd.DataFrame, expectations: Sequence[Expect]) -> Outcome:
    """Validate ``frame`` (from ``relation.df()``) against ``expectations``."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    definition = gx.ExpectationSuite(
        name=suite, expectations=[getattr(gxe, e.kind)(**e.arguments) for e in expectations]
    )
    batch = _session().get_batch(batch_parameters={"dataframe": frame})
    results = batch.validate(definition).results
    failures = tuple(_failure(result) for result in results if not result.success)
    return Outcome(suite, len(expectations), failures)


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


def _failure(result: Any) -> str:
    config = result.expectation_config
    where = config.kwargs.get("column") or config.kwargs.get("column_list") or "table"
    found = result.result.get("partial_unexpected_list") or result.result.get("observed_value")
    error = result.exception_info.get("exception_message") if result.exception_info else None
    return f"{config.type} on {where}: {error or found}"
