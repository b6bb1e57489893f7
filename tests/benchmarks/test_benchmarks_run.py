"""The benchmarks still run; what they measure is never judged here, for time is not a test's."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import __main__ as benchmarks


def test_every_figure_is_measured_and_kept(tmp_path: Path) -> None:
    kept = tmp_path / "benchmarks.md"
    for sections in ("scale,history", "http,capture,payments"):
        assert benchmarks.main(["--tiny", "--only", sections, "--output", str(kept)]) == 0
    text = kept.read_text(encoding="utf-8")
    for case in (
        "SQLite, 2 clients, uniform",
        "PostgreSQL, 2 clients, hot SKU",
        "PostgreSQL, 2 clients, 1 worker",
        "200 orders",
        "first load",
        "increment",
        "batches",
        "Captures, PostgreSQL, 2 clients, 20 ms",
        "Webhooks over HTTP, SQLite, 2 clients",
        "Folds, PostgreSQL",
    ):
        assert case in text
