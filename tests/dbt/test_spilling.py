"""A build that needs more memory than it may have goes on, on disk."""

from __future__ import annotations

from pathlib import Path

import duckdb
import yaml

PROFILES = Path(__file__).parents[2] / "dbt_project" / "profiles.yml"


def test_a_cursor_is_opened_after_the_database_has_spilled(tmp_path: Path) -> None:
    """The adapter applies ``settings`` to each cursor; where it spills cannot be set again."""
    profile = yaml.safe_load(PROFILES.read_text())["order_platform"]["outputs"]["dev"]
    spill = tmp_path / "spill"
    limits = {"memory_limit": "100MB", "temp_directory": str(spill)}
    options = {name: limits.get(name, value) for name, value in profile["config_options"].items()}
    assert limits.keys() <= options.keys()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=options) as database:
        rows = database.execute(
            "SELECT i, hash(i) AS h, repeat('x', 40) AS t FROM range(3_000_000) AS r(i) ORDER BY h"
        )
        rows.fetchone()
        assert list(spill.glob("*"))
        for name, value in profile["settings"].items():
            database.cursor().execute(f"SET {name} = '{value}'")
