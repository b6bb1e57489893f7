"""Writes ``docs/metrics.md`` from the dbt project's metrics file: ``python -m tools.metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dashboards.lib.metrics import SOURCE, metrics

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"


def document() -> str:
    """Return the document, in the order and under the headings of the metrics file."""
    return "\n".join(_lines(SOURCE.read_text(encoding="utf-8"), metrics())) + "\n"


def _lines(source: str, known: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Made from `dbt_project/metrics.yml` by `python -m tools.metrics`; change it there."
    for line in source.splitlines():
        if line.startswith("# --- "):
            yield from ("", f"## {line.strip('# -')}", "")
            yield "| metric | meaning | formula | unit | where, at which grain | owner |"
            yield "| --- | --- | --- | --- | --- | --- |"
        elif (key := line.removesuffix(":")) in known:
            metric = known[key]
            grain = "; ".join(f"`{mart}`: {grain}" for mart, grain in metric["grain"].items())
            yield (
                f"| **{metric['name']}** | {' '.join(metric['definition'].split())}"
                f" | `{metric['formula']}` | {metric['unit']} | {grain} | {metric['owner']} |"
            )


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
