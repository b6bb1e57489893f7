"""The lake in an object store: the same changes, once, whatever happens between it and its copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.engine import Engine

from oms_ops.database import make_engine, transaction
from oms_ops.feed.reader import START, Cursor
from pipelines.lib import compaction, lake, landing, past, replay
from pipelines.lib.objects import Objects, opened
from tests.oms_ops.shop import Shop
from tests.pipelines.test_landing import add_customers, customers, landed, log


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server that speaks S3's protocol."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Objects:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url = f"s3://shop-{uuid4().hex}/lake?region=us-east-1&endpoint_override={server}"
    from pyarrow import fs

    host = server.removeprefix("http://")
    buckets = fs.S3FileSystem(
        region="us-east-1", scheme="http", endpoint_override=host, allow_bucket_creation=True
    )
    buckets.create_dir(url.removeprefix("s3://").split("/", maxsplit=1)[0])
    found = opened(url)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "changes"


def names(folder: Path) -> set[str]:
    return {file.path.name for file in lake.landed(folder)}


def test_a_landing_is_in_the_store_and_another_machine_goes_on_from_there(
    database: Engine, folder: Path, store: Objects, tmp_path: Path
) -> None:
    Shop(database)
    landing.land(database, folder, batch=20, remote=store)
    assert store.names() == names(folder)
    with transaction(database) as connection:
        add_customers(connection, "ann")
    other = tmp_path / "other" / "changes"
    assert landing.land(database, other, remote=store).rows == 1
    assert sorted(landed(other)) == sorted(log(database))
    # The first one comes back, and finds what the other has landed.
    assert landing.land(database, folder, remote=store).rows == 0
    assert sorted(landed(folder)) == sorted(log(database))
    shutil.rmtree(folder)
    assert landing.land(database, folder, remote=store).rows == 0
    assert sorted(landed(folder)) == sorted(log(database))


@pytest.mark.parametrize("point", ["landing.before_rename", "landing.after_upload"])
def test_a_landing_cut_short_around_its_upload_lands_every_change_once(
    sqlite_url: str, folder: Path, store: Objects, point: str
) -> None:
    engine = make_engine(sqlite_url)
    Shop(engine)

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lake, "reach", die)
        landing.land(engine, folder, remote=store)
    landing.land(engine, folder, remote=store)
    assert sorted(landed(folder)) == sorted(log(engine))
    assert store.names() == names(folder)
    engine.dispose()


def test_a_lake_moves_from_a_folder_into_the_store(
    database: Engine, folder: Path, store: Objects
) -> None:
    Shop(database)
    landing.land(database, folder, batch=20)
    assert landing.land(database, folder, remote=store).rows == 0
    assert store.names() == names(folder)


def test_merging_cutting_and_rebuilding_hold_in_the_store_too(
    database: Engine, folder: Path, store: Objects, tmp_path: Path
) -> None:
    Shop(database)
    landing.land(database, folder, batch=3, remote=store)
    compaction.compact(folder, lake.cursor(folder), store, fan_in=2)
    assert len(store.names()) == 1
    replay.replay(database, folder, Cursor(1, 0, 5), store)
    replay.rebuild(database, folder, store)
    assert store.names() == names(folder) | {lake.PAST}
    with transaction(database) as connection:
        add_customers(connection, "ann")
    other = tmp_path / "other" / "changes"
    landing.land(database, other, remote=store)
    assert sorted(landed(other)) == sorted(log(database))
    assert customers(other)[:1] == ["ann"]
    assert past.number(other) == 2
    assert lake.landed(other)[0].after == START


def test_a_store_that_does_not_answer_lands_nothing(
    sqlite_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    gone = opened(
        "s3://shop/lake?region=us-east-1&connect_timeout=0.2&request_timeout=0.2"
        "&endpoint_override=http://127.0.0.1:9"
    )
    engine = make_engine(sqlite_url)
    with pytest.raises(OSError, match="bucket 'shop'"):
        landing.land(engine, folder, remote=gone)
    assert not list(folder.glob("*.parquet"))
    engine.dispose()
