"""What the checks of a run expected and found, as one page of HTML beside the snapshots.

Great Expectations' own data docs are 33 files and 4 MB a run, and draw nothing where eight servers
of others are out of reach, which would know of every look at them. This is the same results in one
file, and it has the other checks of the run, too. A run that failed has its page as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from pipelines.lib.expectations import Outcome, Result
from pipelines.lib.files import replace_text
from pipelines.lib.journal import Check, Journal

#: Pages kept, the newest: as many as there are snapshots, and those of failed runs between them.
KEEP = 10

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data docs of run {run}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid #8884; overflow-wrap: break-word; }}
td.number {{ text-align: right; white-space: nowrap; }}
.failed {{ color: #c62828; font-weight: 600; }} .warned {{ color: #b26a00; font-weight: 600; }}
</style></head><body>
<h1>Data docs</h1>
<p>Run <code>{run}</code>, begun {began}: {summary}.</p>
<h2>Great Expectations</h2>
{suites}
<h2>All checks</h2>
{checks}
</body></html>
"""


def name(run_id: str) -> str:
    """Return the file name of a run's page."""
    return f"data-docs-{run_id}.html"


def write(published: Path, journal: Journal) -> Path:
    """Write the page of a run; pages older than the newest ones go."""
    path = published / name(journal.run_id)
    replace_text(path, render(journal))
    others = [other for other in published.glob(name("*")) if other != path]
    others.sort(key=lambda other: other.stat().st_mtime_ns, reverse=True)
    for old in others[KEEP - 1 :]:
        old.unlink(missing_ok=True)
    return path


def render(journal: Journal) -> str:
    """Return the page of a run."""
    expectations = sum(len(outcome.results) for outcome in journal.outcomes)
    unmet = sum(len(outcome.failures) for outcome in journal.outcomes)
    failed = sum(not check.passed for check in journal.checks)
    return _PAGE.format(
        run=escape(journal.run_id),
        began=f"{journal.started_at:%Y-%m-%d %H:%M} UTC",
        summary=f"{unmet} of {expectations} expectations not met, {failed} of"
        f" {len(journal.checks)} checks not passed",
        suites="\n".join(map(_suite, journal.outcomes)) or "<p>No suite was run.</p>",
        checks=_checks(journal.checks),
    )


def _suite(outcome: Outcome) -> str:
    if not outcome.results:
        return f"<h3>{escape(outcome.suite)}</h3><p>There was nothing to validate.</p>"
    titles = (
        "Result",
        "Expectation",
        "On",
        "Arguments",
        "Severity",
        "Values",
        "Unexpected",
        "Found",
    )
    return f"<h3>{escape(outcome.suite)}</h3>" + _table(titles, map(_result, outcome.results))


def _result(result: Result) -> list[str]:
    asked = result.expectation
    arguments = {key: value for key, value in asked.arguments.items() if not key.startswith("colu")}
    told = ", ".join(f"{key} {value}" for key, value in arguments.items() if value is not None)
    return [
        _verdict(passed=result.passed, severity=asked.severity),
        _cell(asked.kind.removeprefix("Expect")),
        _cell(asked.about),
        _cell(told),
        _cell("blocks" if asked.severity == "ERROR" else "warns"),
        _number(result.elements),
        _number(result.unexpected),
        _cell(result.found),
    ]


def _checks(checks: Sequence[Check]) -> str:
    first = sorted(checks, key=lambda c: (c.passed, c.severity, c.asset, c.name))
    return _table(
        ("Result", "Check", "On", "Detail"),
        (
            [
                _verdict(passed=check.passed, severity=check.severity),
                _cell(check.name),
                _cell(check.asset),
                _cell(check.detail),
            ]
            for check in first
        ),
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _verdict(*, passed: bool, severity: str) -> str:
    if passed:
        return "<td>passed</td>"
    return f'<td class="{"failed" if severity == "ERROR" else "warned"}">' + (
        "failed</td>" if severity == "ERROR" else "warned</td>"
    )


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _number(value: int | None) -> str:
    return f'<td class="number">{"" if value is None else f"{value:,}"}</td>'
