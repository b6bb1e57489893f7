"""No sequence of what happens gives a cent back twice, or loses one that nobody is shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oms_ops.payments.course import Course
from tests.oms_ops.payments.till import Till
from tests.proofs import LONG

ACTS = (
    Course.fault, Course.cancel, Course.cancel, Course.take_back, Course.take_back, Course.resolve,
    Course.post, Course.pages, Course.pages, Course.capture_twice, Course.undo, Course.retry,
    Course.transfer, Course.after_all, Course.charge_back, Course.win, Course.wait, Course.deliver,
    Course.cancel_whole, Course.give, Course.count, Course.count, Course.tell_without_key,
    Course.pay_again,
)  # fmt: skip
steps = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 9), st.integers(1, 400)), max_size=12
)


@pytest.mark.proof
def test_what_is_to_go_back_has_gone_back_once_or_is_shown(till: Till) -> None:
    on_sqlite = till.engine.dialect.name == "sqlite"

    @settings(
        max_examples=(60 if on_sqlite else 6) * (20 if LONG else 1),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps, st.integers(0, 2**16), st.booleans())
    def happen(what: list[tuple[Any, int, int]], seed: int, has_left: bool) -> None:
        course = Course(till, has_left=has_left)
        for act, one, other in what:
            act(course, one, other)
        course.end(seed)
        course.check()

    happen()
