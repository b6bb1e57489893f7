"""The benchmarks still run; what they measure is never judged here, for time is not a test's."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import __main__ as benchmarks


def test_every_figure_is_measured_and_kept(tmp_path: Path) -> None:
    kept = tmp_path / "benchmarks.md"
    sections = ["--only", "capture", "--only", "http", "--only", "scale", "--only", "history"]
    assert benchmarks.main(["--tiny", *sections, "--output", str(kept)]) == 0
    text = kept.read_text(encoding="utf-8")
    for case in (
        "SQLite, 1 client",
        "PostgreSQL, 2 clients",
        "200 orders",
        "first load",
        "increment",
        "batches",
    ):
        assert case in text
