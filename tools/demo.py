"""``make demo``: a shop with real orders, from nothing to served pages.

Loads the orders through the write path, runs the pipeline once, prints what came of it, and
serves API, dashboards and Dagster until Ctrl-C (``SERVE=0``: ends after the summary). Run again, it
finds everything done.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from oms_ops.settings import settings
from tools import processes
from tools.processes import Program

PYTHON = sys.executable
ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the demo; return the exit status."""
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, _interrupt)
    os.chdir(ROOT)
    os.environ["OMS_HOME"] = str(settings().home)
    seconds: dict[str, float] = {}
    try:
        # Parsing the models takes a core for some seconds; the load needs only the other one.
        parsing = subprocess.Popen(_parse(), start_new_session=True, **_silent())  # type: ignore[call-overload]  # noqa: S603
        try:
            _stage(seconds, "load orders", [PYTHON, "-m", "oms_ops", "demo", "load"])
            parsing.wait()
        finally:
            processes.end([parsing])
        _stage(seconds, "run the pipeline", [PYTHON, "-m", "pipelines.run"])
        _summary(seconds, time.perf_counter() - begun)
        if os.environ.get("SERVE", "1") not in ("0", "no", "false"):
            _serve()
    except KeyboardInterrupt:
        print("\nended")
    except processes.Died as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"demo: {shlex.join(error.cmd)} failed", file=sys.stderr)
        return error.returncode or 1
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parse() -> list[str]:
    return [PYTHON, "-c", "from pipelines.lib.dbt import manifest; manifest()"]


def _silent() -> dict[str, int]:
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


def _stage(seconds: dict[str, float], name: str, command: list[str]) -> None:
    """Run one stage in the foreground; it shows its own progress."""
    print(f"-- {name}", flush=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True)  # noqa: S603 - our own commands
    seconds[name] = time.perf_counter() - begun


_FIGURES = """
SELECT (SELECT count(*) FROM marts.fct_orders) AS orders,
    (SELECT count(*) FROM marts.fct_order_lines) AS lines,
    (SELECT sum(net_sales) FROM marts.sales_daily) AS net_sales,
    (SELECT sum(stock_value) FROM marts.inventory_health) AS stock_value,
    (SELECT count(DISTINCT sku) FROM marts.reorder_lines) AS skus,
    (SELECT count(*) FROM marts.reorder_lines) AS reorder_lines,
    (SELECT currency FROM meta.snapshot) AS currency
"""


def _summary(seconds: dict[str, float], whole: float) -> None:
    """Print the figures of the published snapshot, and where the time went."""
    import duckdb

    path = (settings().published / "current.duckdb").resolve()
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute(_FIGURES).fetchone()
    assert row is not None  # noqa: S101 - a query of aggregates has one row
    orders, lines, net_sales, stock_value, skus, reorder_lines, currency = row
    print(
        f"""
  orders            {orders:>14,}
  order lines       {lines:>14,}
  net sales         {net_sales:>14,.2f} {currency}
  stock value       {stock_value:>14,.2f} {currency}
  SKUs to reorder   {skus:>14,}  ({reorder_lines:,} lines over the warehouses)
"""
    )
    for name, spent in seconds.items():
        print(f"  {name:<18}{spent:>13.1f} s")
    print(f"  {'in all':<18}{whole:>13.1f} s", flush=True)


def _keys() -> dict[str, str]:
    """Return the demo's API keys, made on the first run and kept readable by their owner only."""
    path = settings().home / "keys.json"
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    from oms_ops.access import keys
    from oms_ops.database import make_engine, run

    engine = make_engine(settings().url)
    # A name is used once: a second file of keys belongs to new names.
    mark = time.strftime("%Y%m%d%H%M%S")
    made = {
        role: run(engine, lambda c, r=role: keys.create(c, r, f"demo-{r}-{mark}"))  # type: ignore[misc]
        for role in ("admin", "merchandiser")
    }
    engine.dispose()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(made, file)
    return made


def _programs(keys: dict[str, str]) -> list[Program]:
    """Return the three servers, on free ports of 127.0.0.1."""
    home = settings().home
    ports = {"api": 8000, "dashboards": 8501, "dagster": 3000}
    at = {name: processes.free_port(port) for name, port in ports.items()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in at.items()}
    shared = {
        "OMS_HOME": str(home),
        "OMS_PUBLIC_URL": urls["api"],
        "OMS_API_URL": urls["api"],
        "OMS_DAGSTER_URL": urls["dagster"],
        "DAGSTER_HOME": str(home / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }
    local = ["127.0.0.1", "--port"]
    commands = {
        "api": [PYTHON, "-m", "oms_ops", "serve", "--host", *local, str(at["api"])],
        "dashboards": [
            *(PYTHON, "-m", "streamlit", "run", "dashboards/app.py", "--server.headless=true"),
            *("--server.address=127.0.0.1", f"--server.port={at['dashboards']}"),
            *("--browser.gatherUsageStats=false", "--server.fileWatcherType=none"),
        ],
        "dagster": [PYTHON, "-m", "dagster", "dev", "--host", *local, str(at["dagster"])],
    }
    answers = {"api": "/healthz", "dashboards": "/_stcore/health", "dagster": "/server_info"}
    secret = {"dashboards": {"OMS_API_KEY": keys["merchandiser"]}}
    return [
        Program(
            name,
            command,
            shared | secret.get(name, {}),
            urls[name] + answers[name],
            home / "logs" / f"{name}.log",
        )
        for name, command in commands.items()
    ]


def _serve() -> None:
    """Serve until somebody ends it or a server dies."""
    keys = _keys()
    programs = _programs(keys)
    print("\n-- serve (Ctrl-C ends all of it)", flush=True)
    with processes.running(programs) as started:
        for program in processes.wait_until_up(programs, started):
            address = program.url.rsplit("/", 2 if "_stcore" in program.url else 1)[0]
            print(f"  {program.name:<12}{address}", flush=True)
        api = programs[0].url.removesuffix("/healthz")
        bearer = f'"Authorization: Bearer {keys["admin"]}"'
        print(f"\n  try: curl -s -H {bearer} '{api}/v1/orders?limit=1'", flush=True)
        print(f"  API reference: {api}/docs; logs: {settings().home / 'logs'}", flush=True)
        processes.watch(programs, started)


if __name__ == "__main__":
    sys.exit(main())
