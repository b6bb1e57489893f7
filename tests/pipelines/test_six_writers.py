"""Six writers at once, ten runs: nothing lost or repeated; ``seq > cursor`` alone loses."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection, Engine

from oms_ops.database import make_engine, reading, transaction
from oms_ops.orders.capture import capture
from pipelines.lib import lake, landing
from tests.oms_ops.shop import CLERK, Shop, order
from tests.pipelines.test_landing import add_customers, landed, log, rename

RUNS = 10


class Naive:
    """The reader that looks right: whatever has a greater number than the last one it saw."""

    def __init__(self) -> None:
        self.at = 0
        self.taken: list[int] = []

    def read(self, engine: Engine) -> None:
        with reading(engine) as connection:
            found = connection.exec_driver_sql(
                f"SELECT seq FROM change_log WHERE seq > {self.at} ORDER BY seq"
            ).scalars()
            self.taken += found
        self.at = self.taken[-1] if self.taken else 0


def service(engine: Engine, run: int) -> None:
    """Capture orders, one transaction each, on the same stock as the others."""
    for number in range(6):
        capture(engine, CLERK, order((f"SKU-{(run + number) % 4 + 1}", 1), allow_backorder=True))


def plain(engine: Engine, name: str) -> None:
    """Write by plain SQL, several rows a transaction; every third is rolled back."""
    for number in range(9):
        with engine.connect() as connection, connection.begin() as work:
            add_customers(connection, *(f"{name}n{number}k{k}" for k in range(3)))
            rename(connection, f"{name}n{number}k0", f"{name}n{number}renamed")
            if number % 3 == 0:
                work.rollback()


def bulk(engine: Engine) -> None:
    """Change many rows in one statement, again and again."""
    for _ in range(4):
        with transaction(engine) as connection:
            connection.exec_driver_sql("UPDATE skus SET version = version + 1")


def slow(engine: Engine, name: str, naive: Naive, *, keep: bool, stop: threading.Event) -> None:
    """Hold a transaction open until the naive reader is past its numbers, then end it."""

    def number(connection: Connection) -> int:
        query = "SELECT max(seq) FROM change_log"
        return int(connection.exec_driver_sql(query).scalar() or 0)

    with engine.connect() as connection, connection.begin() as work:
        add_customers(connection, name)
        mine = number(connection)
        while naive.at <= mine and not stop.wait(0.001):
            pass
        if not keep:
            work.rollback()


@pytest.mark.slow
def test_nothing_is_lost_or_repeated_in_ten_runs(postgres_url: str, tmp_path: Path) -> None:
    engine, folder = make_engine(postgres_url, pool_size=12), tmp_path / "changes"
    shop = Shop(engine)
    for number in range(1, 5):
        shop.stock(f"SKU-{number}", 20)
    naive = Naive()
    lost_by_the_naive = []
    for run in range(RUNS):
        stop = threading.Event()
        work: list[Callable[[], None]] = [
            lambda run=run: service(engine, run),  # type: ignore[misc]
            lambda run=run: service(engine, run + 2),  # type: ignore[misc]
            lambda run=run: plain(engine, f"r{run}"),  # type: ignore[misc]
            lambda: bulk(engine),
            lambda run=run, stop=stop: slow(  # type: ignore[misc]
                engine, f"kept{run}", naive, keep=True, stop=stop
            ),
            lambda run=run, stop=stop: slow(  # type: ignore[misc]
                engine, f"gone{run}", naive, keep=False, stop=stop
            ),
        ]
        writers = [threading.Thread(target=each) for each in work]
        for writer in writers:
            writer.start()
        # The slow ones wait for the naive reader, and it for the others' commits.
        while any(writer.is_alive() for writer in writers):
            others_are_done = not any(writer.is_alive() for writer in writers[:4])
            landing.land(engine, folder, batch=40)
            naive.read(engine)
            if others_are_done:
                stop.set()
        landing.land(engine, folder)
        naive.read(engine)
        committed = log(engine)
        repeated = {change: n for change, n in Counter(landed(folder)).items() if n > 1}
        assert repeated == {}
        assert set(landed(folder)) == committed
        lake.verify_chain(lake.landed(folder))
        lost_by_the_naive.append(len(committed) - len(naive.taken))
    # The negative control: the same writers, and each run takes more from the naive reader.
    assert lost_by_the_naive == sorted(lost_by_the_naive)
    assert lost_by_the_naive[-1] >= RUNS // 2
    print(f"committed {len(committed)}, lost by seq > cursor alone {lost_by_the_naive[-1]}")
    engine.dispose()
