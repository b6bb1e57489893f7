"""The run as a resource: one at a time, with a journal, and with an end that is always told.

Every asset of this location works inside a :class:`PipelineRun`. It belongs to the whole run
because runs execute in one process (see ``definitions.py``); its lock is the kernel's, so it is
gone with the process, however that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, Literal

import dagster as dg
from pydantic import PrivateAttr

from oms_ops import clock
from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines import instance
from pipelines.lib import data_docs, status
from pipelines.lib.expectations import Outcome
from pipelines.lib.failpoints import reach
from pipelines.lib.files import exclusive
from pipelines.lib.journal import Check, Journal, Severity


class PipelineRun(dg.ConfigurableResource[Any]):
    """Serialises runs and keeps their journal.

    ``wait_seconds`` is how long a run waits for another one, started elsewhere, to end.
    """

    wait_seconds: float = 900.0

    _journal: Journal | None = PrivateAttr(default=None)

    @property
    def journal(self) -> Journal:
        """The journal of the run under way."""
        assert self._journal is not None  # noqa: S101 - set before any asset runs
        return self._journal

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[PipelineRun]:
        """Hold the pipeline for one run."""
        lock = settings().home / "pipeline.lock"
        with exclusive(lock, wait_seconds=self.wait_seconds), instance.quick_log():
            self._journal = Journal(context.run.run_id if context.run else "unknown")
            yield self

    def finish(
        self, state: Literal["published", "unchanged"], message: str, basis: status.Basis
    ) -> None:
        """Write ``status.json`` for a run that ended well; ``basis`` is what it published."""
        journal = self.journal
        published = settings().published
        if state == "published":
            data_docs.write(published, journal)
        last = status.load(published) if state == "unchanged" else None
        again = journal.look_again_at.isoformat() if journal.look_again_at else None
        reach("status: begins")
        status.Status(
            state,
            journal.run_id,
            journal.started_at.isoformat(),
            clock.now().isoformat(),
            message,
            snapshot=status.current_snapshot(published),
            basis=basis,
            warnings=last.warnings if last else journal.warnings,
            look_again_at=last.look_again_at if last else again,
        ).save(published)
        reach("status: ends")

    def failed(self) -> None:
        """Write ``status.json`` for a run that failed, with all that is known of it by now."""
        journal = self.journal
        refused = [f"{c.asset}, {c.name}: {c.detail}" for c in journal.checks if c.blocks]
        message = "; ".join(refused or journal.errors)
        published = settings().published
        data_docs.write(published, journal)
        status.failed(published, journal.run_id, journal.started_at, message, journal.failed_checks)

    @property
    def business_date(self) -> date:
        """The shop's day on which the run began."""
        return status.business_date(self.journal.started_at)

    def basis(self, cursor: Cursor) -> status.Basis:
        """Return what a snapshot made by this run is made from."""
        return status.basis(cursor, self.journal.started_at)

    def check_result(
        self,
        asset: dg.AssetKey,
        name: str,
        *,
        passed: bool,
        detail: str,
        severity: Severity = "ERROR",
        is_news: bool = False,
    ) -> dg.AssetCheckResult:
        """Note a check in the journal and return it in Dagster's form.

        ``is_news`` tells people of a warning again that the last snapshot had, too.
        """
        key = asset.to_user_string()
        self.journal.checks.append(Check(name, key, severity, passed, detail, is_news))
        return dg.AssetCheckResult(
            passed=passed,
            asset_key=asset,
            check_name=name,
            severity=dg.AssetCheckSeverity[severity],
            metadata={"detail": detail},
        )

    def suite_result(
        self, asset: dg.AssetKey, name: str, outcome: Outcome, **differently: Any
    ) -> dg.AssetCheckResult:
        """Note the outcome of a suite, for the data docs too; its gravest failure says what next.

        What the check says ``differently`` goes to :meth:`check_result`.
        """
        self.journal.outcomes.append(outcome)
        said: dict[str, Any] = {
            "passed": outcome.passed,
            "detail": outcome.detail,
            "severity": outcome.severity,
        }
        return self.check_result(asset, name, **(said | differently))
