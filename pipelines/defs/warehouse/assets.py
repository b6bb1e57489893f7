"""The dbt models as assets and their data tests as checks, built in one go."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from oms_ops.settings import settings
from pipelines.defs.capture.assets import CHANGES
from pipelines.defs.common import FULL_REFRESH, OWNERS, POOL
from pipelines.lib import dbt, rebuilding, upstream
from pipelines.lib.failpoints import reach
from pipelines.lib.journal import Progress, Severity, tell
from pipelines.resources import PipelineRun

UNIQUE_ID = "dagster_dbt/unique_id"

#: A model that calls one of these is made from the landed files.
READS_THE_LAKE = frozenset({"macro.order_platform.stage", "macro.order_platform.versions"})


class Translator(DagsterDbtTranslator):
    """Names dbt's nodes as the warehouse does: schema and table."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Return ``schema/name``, for a source ``source/name``."""
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([_layer(dbt_resource_props), dbt_resource_props["name"]])

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """Add what dbt does not know: some models read the lake's files, which are no table."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = manifest["nodes"].get(unique_id, {})
        if READS_THE_LAKE.intersection(node.get("depends_on", {}).get("macros", ())):
            return spec.merge_attributes(deps=[CHANGES])
        return spec

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """Return what the model's .yml says; its SQL is in the repository."""
        return str(dbt_resource_props.get("description") or "")

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """Return who answers for the model."""
        return OWNERS


def _layer(node: Mapping[str, Any]) -> str:
    """Return staging, intermediate or marts: the schema."""
    return str(node["schema"])


MANIFEST: Mapping[str, Any] = json.loads(dbt.manifest().read_text(encoding="utf-8"))


@dbt_assets(
    manifest=MANIFEST,
    dagster_dbt_translator=Translator(),
    name="dbt_models",
    pool=POOL,
)
def dbt_models(
    context: dg.AssetExecutionContext, run: PipelineRun
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Build staging, intermediate and marts; the tests between them block what follows."""
    keys = {spec.metadata[UNIQUE_ID]: spec.key for spec in dbt_models.specs}
    checks = {spec.metadata[UNIQUE_ID]: spec for spec in dbt_models.check_specs}
    failed: list[str] = []
    with run.journal.stage("warehouse") as stage:
        warehouse, folder = settings().warehouse, settings().lake / "changes"
        select = _selection(context) if context.is_subset else ()
        why = rebuilding.reason(warehouse, folder, run.business_date)
        full = FULL_REFRESH in context.run.tags or why is not None
        tested = rebuilding.is_tested(warehouse, run.business_date)
        # A part of the models, too, renews what tells the next build why.
        if full and (why or not context.is_subset):
            rebuilding.begin_anew(warehouse)
        rebuilding.begin(warehouse, run.business_date)
        variables = {
            "business_date": run.business_date.isoformat(),
            "own_columns": upstream.staged(folder),
            "touched_rows": {} if full or context.is_subset or not tested else dbt.increments(),
        }
        stage.rows_read = rebuilding.to_read(warehouse, folder, anew=full)
        total = len(keys) + len(checks)
        models = tests = 0
        for result in dbt.build(variables, select=select, full_refresh=full):
            name = result.unique_id.split(".")[2]
            tell(Progress("warehouse", result.done, total, name))
            reach(f"warehouse: {10 * result.done // total} of 10 built")
            if not result.ok and result.status != "skipped":
                failed.append(f"{name}: {result.message}")
            if result.unique_id in checks and result.status != "skipped":
                tests += 1
                yield _check(run, checks[result.unique_id].key, result)
            elif result.unique_id in keys and result.ok:
                models += 1
                stage.rows_written += result.rows
                yield dg.MaterializeResult(
                    asset_key=keys[result.unique_id],
                    metadata={"seconds": result.seconds, "rows_written": result.rows},
                )
        stage.bytes = warehouse.stat().st_size
        seen = "touched" if variables["touched_rows"] else "all"
        stage.note = f"{models} models built, {tests} tests of {seen} rows"
        if why:
            stage.note += f"; built anew: {why}"
    if failed:
        raise dg.Failure("dbt: " + "; ".join(failed))
    if not context.is_subset:
        rebuilding.remember(warehouse, folder, run.business_date)


def _check(run: PipelineRun, key: dg.AssetCheckKey, result: dbt.NodeResult) -> dg.AssetCheckResult:
    severity: Severity = "WARN" if result.status == "warn" else "ERROR"
    return run.check_result(
        key.asset_key,
        key.name,
        passed=result.status == "pass",
        detail=result.message or result.status,
        severity=severity,
    )


def _selection(context: dg.AssetExecutionContext) -> list[str]:
    """Return dbt's selection of the chosen models, for a run of a part of the graph."""
    return [
        ".".join(MANIFEST["nodes"][spec.metadata[UNIQUE_ID]]["fqn"])
        for spec in dbt_models.specs
        if spec.key in context.selected_asset_keys
    ]
