"""The demo's figures, keys and ports."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from oms_ops.access import keys as access_keys
from oms_ops.setup import init
from tests.dashboards import snapshot
from tests.dashboards.shop import trade
from tools import services, summary


def test_the_summary_is_the_snapshot(tmp_path: Path) -> None:
    shop = trade(snapshot.yesterday())
    snapshot.publish(tmp_path, shop=shop)
    figures = summary.read(tmp_path / "published" / "current.duckdb")
    assert figures.orders > 0
    assert figures.lines >= figures.orders
    assert figures.net_sales > 0
    assert figures.stock_value > 0
    assert 0 < figures.reorder_skus <= figures.reorder_lines
    labels = [label for label, _ in figures.rows()]
    assert labels[:5] == ["orders", "order lines", "net sales", "stock value", "SKUs to reorder"]


def test_keys_are_made_once_kept_privately_and_work(database: Engine, tmp_path: Path) -> None:
    first = services.keys(database, tmp_path)
    assert services.keys(database, tmp_path) == first
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    roles = {access_keys.authenticate(database, key).role for key in first.values()}
    assert roles == {"merchandiser", "admin"}


def test_lost_keys_are_made_anew(database: Engine, tmp_path: Path) -> None:
    first = services.keys(database, tmp_path)
    (tmp_path / "keys.json").unlink()
    second = services.keys(database, tmp_path)
    assert not set(first.values()) & set(second.values())
    for key in second.values():
        access_keys.authenticate(database, key)


def test_keys_of_a_database_that_is_gone_are_made_anew(tmp_path: Path) -> None:
    from oms_ops.database import make_engine

    given = []
    for name in ("old", "new"):
        engine = make_engine(f"sqlite:///{tmp_path / name}.db")
        init(engine)
        given.append(services.keys(engine, tmp_path))
        access_keys.authenticate(engine, given[-1]["demo-admin"])
        engine.dispose()
    assert given[0] != given[1]


def test_a_port_in_use_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"demo-merchandiser": "oms_m", "demo-admin": "oms_a"}
    with socket.socket() as taken:
        taken.bind((services.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setitem(services.PORTS, "api", port)
        served = services.plan(tmp_path, held)
    assert served.api.address != f"http://127.0.0.1:{port}"
    # Only the dashboards get a key, and all of them are told the same shop and one another.
    assert served.dashboards.environment["OMS_API_KEY"] == "oms_m"
    assert served.dashboards.environment["OMS_API_URL"] == served.api.address
    assert served.dashboards.environment["OMS_DAGSTER_URL"] == served.dagster.address
    assert "OMS_API_KEY" not in {**served.api.environment, **served.dagster.environment}
    assert {s.environment["OMS_HOME"] for s in served.in_order()} == {str(tmp_path)}
    assert "oms_a" in served.example()
