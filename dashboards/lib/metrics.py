"""What each metric means: the text of tooltips on cards, charts and column headers.

It stands in ``dbt_project/metrics.yml``, beside the models that compute it: one source of names,
formulas, units, grains and owners for marts, dashboards and ``docs/metrics.md``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "dbt_project" / "metrics.yml"


def explain(metric: str) -> str:
    """Return the definition of ``metric``; an unknown name is a mistake and raises KeyError."""
    known = metrics()[metric]
    return f"{known['definition'].strip()}\n\nFormula: `{known['formula']}`"


@cache
def metrics() -> dict[str, dict[str, Any]]:
    """Return every metric by its key: name, definition, formula, unit, owner, and grain by mart."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, dict[str, Any]] = yaml.load(SOURCE.read_text(encoding="utf-8"), loader)  # noqa: S506 - a safe loader
    return found
