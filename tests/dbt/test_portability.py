"""Models are portable SQL: what only an engine can say stands in dispatched macros.

sqlfluff lints the models too (``make lint``); this scan takes no ten seconds.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.lib.status import DBT_PROJECT

SOURCES = sorted((DBT_PROJECT / "models").rglob("*.sql")) + sorted(
    (DBT_PROJECT / "tests").rglob("*.sql")
)

ENGINE_ONLY = re.compile(
    r"""
    ::                                   # casts in one engine's notation
    | \b(qualify|ilike|pivot|unpivot)\b
    | \bgroup\s+by\s+all\b | \border\s+by\s+all\b
    | \b(at\s+time\s+zone|interval)\b
    | \b(json|list|struct|array|map|read|regexp|date|str|to|make|epoch)_\w+\s*\(
    | \b(unnest|explode|generate_series|range|sequence|flatten)\s*\(
    | \b(strftime|strptime|datediff|dateadd|nvl|ifnull|try_cast|any_value|arg_max|arg_min|median
        |quantile_\w+|percentile_\w+)\s*\(
    """,
    re.IGNORECASE | re.VERBOSE,
)


def engine_words(source: str) -> list[str]:
    """Return what only some engine understands in a model, its comments and macros left out."""
    plain = re.sub(r"{#.*?#}|{{.*?}}|{%.*?%}", " ", source, flags=re.DOTALL)
    plain = re.sub(r"--[^\n]*|'[^']*'", " ", plain)
    return [match.group(0) for match in ENGINE_ONLY.finditer(plain)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_model_is_portable(path: Path) -> None:
    assert engine_words(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "select a::int from t",
        "select * from t qualify row_number() over (order by a) = 1",
        "select date_diff('day', a, b) from t",
        "select unnest(a) from t",
        "select * from read_parquet('x')",
        "select json_transform(a, '{}') from t",
        "select list_aggregate(a, 'sum') from t",
        "select a at time zone 'UTC' from t",
    ],
)
def test_words_of_an_engine_are_found(source: str) -> None:
    """The control: the scan sees what it is there to see."""
    assert engine_words(source)


def test_macros_for_an_engine_are_dispatched() -> None:
    """Another engine brings its own version of a macro; only a default may speak DuckDB's words."""
    source = (DBT_PROJECT / "macros" / "engine.sql").read_text(encoding="utf-8")
    names = re.findall(r"{%-? macro (\w+)\(", source)
    plain = [name for name in names if not name.startswith("default__")]
    assert plain
    for name in plain:
        assert f"default__{name}" in names
        assert f"adapter.dispatch('{name}')" in source
