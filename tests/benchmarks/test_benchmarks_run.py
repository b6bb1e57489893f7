"""The benchmarks still run; what they measure is never judged here, for time is not a test's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks.report import Aim, Figure


@pytest.mark.parametrize(
    ("sections", "cases"),
    [
        ("scale,history", ("200 orders", "first load", "increment", "batches")),
        (
            "http,capture",
            (
                "SQLite, 2 clients, uniform",
                "PostgreSQL, 2 clients, hot SKU",
                "PostgreSQL, 2 clients, 1 worker, hot SKU",
            ),
        ),
        (
            "payments",
            (
                "Captures, PostgreSQL, 2 clients, 20 ms",
                "Webhooks over HTTP, SQLite, 2 clients",
                "Folds, PostgreSQL",
            ),
        ),
    ],
)
def test_every_figure_is_measured_and_kept(
    tmp_path: Path, sections: str, cases: tuple[str, ...]
) -> None:
    kept = tmp_path / "benchmarks.md"
    assert benchmarks.main(["--tiny", "--only", sections, "--output", str(kept)]) == 0
    text = kept.read_text(encoding="utf-8")
    assert [case for case in cases if case not in text] == []


def test_an_aim_that_is_missed_is_named_and_fails_where_it_is_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [
        Figure("capture", "fast", "9/s", "hand 6/s", [1.4, 1.5, 1.6], Aim(least=1.0)),
        Figure("capture", "slow", "3/s", "hand 6/s", [0.4, 0.5, 1.6], Aim(least=1.0)),
        Figure("scale", "flat", "3 ms", "few", [1.1, 1.2, 9.9], Aim(most=1.2)),
        Figure("scale", "steep", "9 ms", "few", [0.1, 3.0, 3.1], Aim(most=1.2)),
    ]
    monkeypatch.setattr(benchmarks, "_section", lambda *_: figures)
    for asked, status in (([], 0), (["--strict"], 1)):
        assert benchmarks.main(["--tiny", "--only", "capture", *asked]) == status
        told = capsys.readouterr().err
        assert "2 aims missed" in told
        assert "slow" in told
        assert "steep" in told
        assert "fast" not in told
    monkeypatch.setattr(benchmarks, "_section", lambda *_: figures[::2])
    assert benchmarks.main(["--tiny", "--only", "capture", "--strict"]) == 0
