"""The newest file name is the cursor, and a half-written file is nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_ops.feed.reader import Cursor
from pipelines.lib import lake
from pipelines.lib.files import Busy, exclusive

cursors = st.builds(
    Cursor, st.integers(0, 999_999), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)
)


def _land(folder: Path, after: Cursor, upto: Cursor, text: str = "rows") -> None:
    lake.write(folder, after, upto, lambda path: path.write_text(text) and None)


@given(st.lists(st.tuples(cursors, cursors), min_size=2, max_size=20))
def test_names_sort_as_cursors_do(ranges: list[tuple[Cursor, Cursor]]) -> None:
    assert sorted(ranges) == sorted(ranges, key=lambda pair: lake.file_name(*pair))


def test_an_empty_lake_begins_at_the_start(tmp_path: Path) -> None:
    assert lake.cursor(tmp_path / "none") == Cursor()


def test_landing_moves_the_cursor_to_the_end_of_the_newest_file(tmp_path: Path) -> None:
    _land(tmp_path, Cursor(), Cursor(1, 7, 30))
    _land(tmp_path, Cursor(1, 7, 30), Cursor(1, 9, 2))
    assert lake.cursor(tmp_path) == Cursor(1, 9, 2)
    lake.verify_chain(lake.landed(tmp_path))


def test_a_hole_in_the_lake_is_found(tmp_path: Path) -> None:
    _land(tmp_path, Cursor(), Cursor(1, 0, 10))
    _land(tmp_path, Cursor(1, 0, 20), Cursor(1, 0, 30))
    with pytest.raises(lake.BrokenChain):
        lake.verify_chain(lake.landed(tmp_path))


def test_a_file_that_fails_while_it_is_written_is_not_there(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with lake.landing(tmp_path), pytest.raises(OSError, match="disk full"):
        lake.write(tmp_path, Cursor(), Cursor(1, 0, 1), fail)
    assert list(tmp_path.glob("*.parquet")) == []
    with lake.landing(tmp_path):
        assert list(tmp_path.glob(".*.tmp")) == []


def test_a_second_landing_does_not_write_beside_the_first(tmp_path: Path) -> None:
    with (
        lake.landing(tmp_path),
        pytest.raises(Busy),
        lake.landing(tmp_path, wait_seconds=0.2),
    ):
        pass


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "lock", wait_seconds=0):
            pass


def test_a_stranger_in_the_lake_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("")
    with pytest.raises(ValueError, match=r"notes\.parquet"):
        lake.cursor(tmp_path)
