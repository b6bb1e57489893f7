"""What ``make demo`` serves: the API, the dashboards and Dagster, with the keys that they need."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Engine

from tools.supervisor import Service

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
#: Where each looks for a free port first.
PORTS = {"api": 8000, "dashboards": 8501, "dagster": 3000}
#: Who holds a key, and in what role; the names stand on every change made with it.
HOLDERS = {"demo-merchandiser": "merchandiser", "demo-admin": "admin"}


@dataclass(frozen=True, slots=True)
class Served:
    """The three services, and the keys by their holders."""

    api: Service
    dashboards: Service
    dagster: Service
    keys: Mapping[str, str]

    def in_order(self) -> tuple[Service, ...]:
        """Return the services, the one that people wait for first."""
        return self.dashboards, self.api, self.dagster

    def example(self) -> str:
        """Return a call of the API that works as it stands."""
        key = self.keys["demo-admin"]
        return f"curl -s '{self.api.address}/v1/orders?limit=2' -H 'Authorization: Bearer {key}'"


def plan(home: Path, keys: Mapping[str, str]) -> Served:
    """Return the services of the shop in ``home`` on ports that are free now."""
    ports = {name: _free_port(port) for name, port in PORTS.items()}
    url = {name: f"http://{HOST}:{port}" for name, port in ports.items()}
    shop = {"OMS_HOME": str(home)}
    api = Service(
        "api",
        [sys.executable, "-m", "oms_ops", "serve", "--host", HOST, "--port", str(ports["api"])],
        url["api"],
        f"{url['api']}/healthz",
        # The links in orders lead here, unless the shop has an address of its own.
        {"OMS_PUBLIC_URL": os.environ.get("OMS_PUBLIC_URL") or url["api"], **shop},
    )
    dashboards = Service(
        "dashboards",
        [
            sys.executable, "-m", "dashboards",
            "--server.headless=true", f"--server.address={HOST}",
            f"--server.port={ports['dashboards']}", "--server.fileWatcherType=none",
            "--browser.gatherUsageStats=false",
        ],
        url["dashboards"],
        f"{url['dashboards']}/_stcore/health",
        {
            "OMS_API_KEY": keys["demo-merchandiser"],
            "OMS_API_URL": url["api"],
            "OMS_DAGSTER_URL": url["dagster"],
            **shop,
        },
    )  # fmt: skip
    dagster = Service(
        "dagster",
        [sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(ports["dagster"])],
        url["dagster"],
        f"{url['dagster']}/server_info",
        {"DAGSTER_HOME": str(home / "dagster"), **shop},
    )
    return Served(api, dashboards, dagster, keys)


def keys(engine: Engine, home: Path) -> dict[str, str]:
    """Return a working key for each holder; make and keep those that there are none of.

    They are kept in ``keys.json``, readable by its owner alone: the database has only their hashes.
    """
    path = home / "keys.json"
    kept: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    wanted = {
        holder: kept[holder] if _works(engine, kept.get(holder)) else _create(engine, holder)
        for holder in HOLDERS
    }
    if wanted != kept:
        aside = path.with_suffix(".tmp")
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(wanted, file, indent=1)
        aside.replace(path)
    return wanted


def _works(engine: Engine, key: str | None) -> bool:
    from oms_ops.access.keys import authenticate
    from oms_ops.errors import Unauthorised

    if key is None:
        return False
    try:
        authenticate(engine, key)
    except Unauthorised:
        return False
    return True


def _create(engine: Engine, holder: str) -> str:
    """Create a key; where the name is taken (its key was lost), take the next one."""
    from oms_ops.access.keys import create
    from oms_ops.database import run
    from oms_ops.errors import Conflict

    name, number = holder, 1
    while True:
        try:
            return run(engine, lambda c, n=name: create(c, HOLDERS[holder], n))  # type: ignore[misc]
        except Conflict:
            number += 1
            name = f"{holder}-{number}"


def _free_port(first: int) -> int:
    """Return the first port from ``first`` on that nobody listens at."""
    for port in range(first, first + 200):
        with socket.socket() as probe:
            # As the servers do: a port that was used a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {first} on")
