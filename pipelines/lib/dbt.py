"""Runs dbt in this process: parse once per version of the sources, build with the result of it.

dbt's own entry point for programs is used, not its command line: a child process would import and
load again what is in memory already, five seconds in each run. For the same reason a process
parses the project once, whatever it builds afterwards. The manifest that asset definitions are made
from is a file that never changes under its name, so a run does not disturb who reads it.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oms_ops import clock
from oms_ops.settings import settings
from pipelines.lib import status
from pipelines.lib.files import exclusive, replace_text
from pipelines.lib.status import DBT_PROJECT, code_version

#: How a model says which rows it forgets: the macro `forget` of the project.
_FORGETS = re.compile(r"forget\('(\w+)', ref\('(\w+)'\)\)")


class BuildFailed(RuntimeError):
    """dbt could not parse or build; the message says what and where."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """How one node ended: ``status`` is dbt's (success, pass, warn, fail, error, skipped).

    ``rows`` is how many a model wrote.
    """

    unique_id: str
    kind: str
    status: str
    seconds: float
    message: str
    done: int
    rows: int

    @property
    def ok(self) -> bool:
        """Whether the node did what it should; a warning is not a failure."""
        return self.status in ("success", "pass", "warn")


def home() -> Path:
    """Return the folder of dbt's own state."""
    return settings().home / "dbt"


def manifest() -> Path:
    """Return the manifest of the project as it is now; parse only when its sources changed."""
    path = home() / f"manifest-{code_version(DBT_PROJECT)}.json"
    if not path.exists():
        with exclusive(home() / ".lock", wait_seconds=120):
            if not path.exists():
                whole = home() / "target" / "manifest.json"
                _parsed().write(str(whole))
                replace_text(path, whole.read_text("utf-8"))
                for other in home().glob("manifest-*.json"):
                    if other != path:
                        other.unlink()
    return path


#: What this process has parsed: dbt's manifest by the version of the sources.
_manifests: dict[str, Any] = {}


def _parsed() -> Any:
    """Return dbt's own manifest of the project as it is now; what it says of a run is yours."""
    code = code_version(DBT_PROJECT)
    if code not in _manifests:
        # With the variables of a run, or another process would parse all over again.
        day = status.business_date(clock.now()).isoformat()
        outcome = _invoke(["parse", "--vars", json.dumps({"business_date": day})])
        if not outcome.success:
            raise BuildFailed("dbt parse failed")
        _manifests.clear()
        _manifests[code] = outcome.result
    return _manifests[code].deepcopy()


def build(
    variables: Mapping[str, Any], *, select: Sequence[str] = (), full_refresh: bool = False
) -> Iterator[NodeResult]:
    """Build models and run their data tests; yield each result as it comes.

    Raises:
        BuildFailed: at the end, when dbt itself failed. A failed test is only a result.
    """
    # Unit tests are about the code, not the data: they run where the code is tested.
    arguments = [
        "build",
        "--exclude-resource-type",
        "unit_test",
        "--no-write-json",
        "--vars",
        json.dumps(dict(variables)),
    ]
    if full_refresh:
        arguments.append("--full-refresh")
    if select:
        arguments += ["--select", *select]
    events: queue.SimpleQueue[NodeResult | BaseException | None] = queue.SimpleQueue()
    done = 0

    def listen(event: Any) -> None:
        nonlocal done
        if event.info.name == "NodeFinished":
            done += 1
            events.put(_result(event.data, done))

    def work() -> None:
        try:
            _invoke(arguments, listen, _parsed())
            events.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            events.put(error)

    worker = threading.Thread(target=work, name="dbt", daemon=True)
    worker.start()
    while (event := events.get()) is not None:
        if isinstance(event, BaseException):
            raise event
        yield event
    worker.join()


def increments() -> dict[str, tuple[str, str]]:
    """Return, of each model that forgets rows before it brings some anew, by which key it does.

    And the name of the model that has the keys which a build touches: nothing else changes.
    """
    nodes = json.loads(manifest().read_text(encoding="utf-8"))["nodes"].values()
    found = {}
    for node in nodes:
        for hook in node["config"].get("pre-hook") or ():
            if told := _FORGETS.search(hook["sql"]):
                found[node["name"]] = (told[1], told[2])
    return found


def _result(data: Any, done: int) -> NodeResult:
    run = data.run_result
    node = data.node_info
    rows = dict(run.adapter_response).get("rows_affected") or 0
    return NodeResult(
        node.unique_id, node.resource_type, run.status, run.execution_time, run.message, done,
        int(rows),
    )  # fmt: skip


def _invoke(arguments: Sequence[str], listener: Any = None, parsed: Any = None) -> Any:
    from dbt.cli.main import dbtRunner

    home().mkdir(parents=True, exist_ok=True)
    settings().warehouse.parent.mkdir(parents=True, exist_ok=True)
    where = ["--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT]
    where += ["--target-path", home() / "target", "--log-path", home() / "logs"]
    quiet = ["--quiet", "--no-use-colors", "--no-send-anonymous-usage-stats"]
    quiet += ["--log-level-file", "info", "--no-version-check"]
    with _environment(), _old_objects_left_alone(), _rows_counted(), _details_unsaid():
        outcome = dbtRunner(parsed, callbacks=[listener] if listener else []).invoke(
            [*quiet, *arguments, *map(str, where)]
        )
    _close_connections()
    if outcome.exception is not None:
        raise BuildFailed(str(outcome.exception)) from outcome.exception
    return outcome


@contextmanager
def _rows_counted() -> Iterator[None]:
    """Let results say how many rows were written: dbt's adapter leaves DuckDB's answer unread."""
    from dbt.adapters.contracts.connection import AdapterResponse
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    def response(_: Any, cursor: Any) -> AdapterResponse:
        rows = None
        if [column[0] for column in cursor.description or ()] == ["Count"]:
            # dbt asks twice, and the answer can be read once.
            answer = cursor.fetchone()
            rows = cursor.rows_written = answer[0] if answer else vars(cursor).get("rows_written")
        return AdapterResponse(_message="OK", rows_affected=rows)

    manager: Any = DuckDBConnectionManager
    original = manager.__dict__["get_response"]
    manager.get_response = classmethod(response)
    try:
        yield
    finally:
        manager.get_response = original


@contextmanager
def _details_unsaid() -> Iterator[None]:
    """Drop dbt's events of the level debug, but for the one that tells how a node ended.

    No log has them at the level it is set to, unless somebody sets DBT_DEBUG, but dbt makes each a
    message and two lines before it asks: thirty a node, a sixth of a small build.
    """
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager

    manager: Any = EventManager
    original = manager.fire_event

    def fire(self: Any, e: Any, level: Any = None, *others: Any, **named: Any) -> None:
        if (
            (level or e.level_tag()) != EventLevel.DEBUG
            or type(e).__name__ == "NodeFinished"
            or any(logger.level == EventLevel.DEBUG for logger in self.loggers)
        ):
            original(self, e, level, *others, **named)

    manager.fire_event = fire
    try:
        yield
    finally:
        manager.fire_event = original


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Keep the garbage collector off what is there already, which stays for longer than a build.

    There are hundreds of thousands of dbt's and Dagster's; looking through them again and again
    took a sixth of a build.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _environment() -> Iterator[None]:
    """Give the models their settings, defaults included, as environment variables."""
    shop = settings()
    wanted = {
        "OMS_HOME": str(shop.home),
        "OMS_LAKE_FOLDER": str(shop.lake),
        "OMS_TIMEZONE": shop.timezone,
        "OMS_CURRENCY": shop.currency,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _close_connections() -> None:
    """Let go of the warehouse file: dbt's adapter keeps it open for the life of the process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    close: Callable[[], None] = DuckDBConnectionManager.close_all_connections
    close()
