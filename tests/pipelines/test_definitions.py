"""One asset graph, from the change log to the published snapshot; a change of it is seen.

``asset_graph.json`` is the graph as it was agreed. After a wanted change write it anew:
``UPDATE_SNAPSHOTS=1 pytest tests/pipelines/test_definitions.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from oms_ops.settings import settings
from pipelines.lib import dbt
from tests.pipelines.world import ROOT

SNAPSHOT = Path(__file__).with_name("asset_graph.json")


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    from pipelines.definitions import defs

    return defs


def _graph(defs: dg.Definitions) -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    found: dict[str, Any] = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        found[key.to_user_string()] = {
            "group": node.group_name,
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "kinds": sorted(node.kinds),
            "checks": sorted(check.name for check in node.check_keys),
        }
    return found


def test_the_asset_graph_is_the_one_that_was_agreed(defs: dg.Definitions) -> None:
    graph = _graph(defs)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")
    assert graph == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_hangs_between_the_change_log_and_the_snapshot(defs: dg.Definitions) -> None:
    graph = _graph(defs)
    roots = {name for name, node in graph.items() if not node["deps"]}
    seeds = {name for name in roots if "seed" in name or name == "staging/rfm_segments"}
    assert roots - seeds == {"oms/change_log"}
    leaves = set(graph) - {dep for node in graph.values() for dep in node["deps"]}
    # The record of processed files is dbt's own; everything else ends in what is published.
    assert leaves == {"published/daily_close", "intermediate/processed_files"}
    assert graph["published/daily_close"]["deps"] == ["published/snapshot"]


def test_every_asset_is_described_and_owned(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.group_name, key
        assert node.owners, key


def test_everything_that_writes_waits_in_one_pool(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        assert graph.get(key).pools == {"warehouse"}, key


def test_checks_block_what_comes_after_them(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for check in (
        ("lake/changes", "landed_changes"),
        ("lake/changes", "lake_is_unbroken"),
        ("lake/changes", "upstream_columns"),
        ("marts/sales_daily", "expectations"),
        ("marts/reorder_lines", "expectations"),
        ("marts/reconciliation", "to_the_cent"),
    ):
        key = dg.AssetCheckKey(dg.AssetKey.from_user_string(check[0]), check[1])
        assert graph.get_check_spec(key).blocking, check


def test_definitions_load_without_a_database() -> None:
    # What the models are is known to this process; the other need not parse them again.
    dbt.manifest()
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.definitions import defs; print(len(defs.assets))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (settings().home / "oms.db").exists()


def test_an_idle_command_imports_nothing_heavy() -> None:
    heavy = ("dagster", "dbt", "great_expectations", "pandas", "polars", "duckdb")
    program = f"import sys, pipelines.run; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
