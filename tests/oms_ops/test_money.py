"""Promise 4: money is integer minor units, and parts sum to the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_ops.money import spread, to_minor, to_text
from oms_ops.returns.commands import refund_of


@given(st.integers(-10_000_000, 10_000_000), st.lists(st.integers(0, 10_000), min_size=1))
def test_the_parts_of_a_spread_sum_to_it(total: int, weights: list[int]) -> None:
    parts = spread(total, weights)
    assert sum(parts) == total
    assert all(part * total >= 0 for part in parts)


@given(st.integers(0, 100_000), st.lists(st.integers(1, 10_000), min_size=1, max_size=20))
def test_no_part_of_a_spread_is_off_by_a_cent_or_more(total: int, weights: list[int]) -> None:
    for part, weight in zip(spread(total, weights), weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1


@given(st.integers(-(10**12), 10**12), st.sampled_from(["USD", "JPY", "KWD"]))
def test_text_and_minor_units_are_each_others_inverse(minor: int, currency: str) -> None:
    assert to_minor(to_text(minor, currency), currency) == minor


@pytest.mark.parametrize("amount", ["1.999", "abc", "NaN", "Infinity"])
def test_nothing_is_rounded_silently(amount: str) -> None:
    with pytest.raises(ValueError, match=r"decimal places|number"):
        to_minor(amount, "USD")


@given(st.integers(0, 1_000_000), st.lists(st.integers(1, 50), min_size=1, max_size=10))
def test_the_refunds_of_all_units_sum_to_the_net_price(net: int, cuts: list[int]) -> None:
    quantity, before, refunded = sum(cuts), 0, 0
    for units in cuts:
        refunded += refund_of(net, quantity, before, units)
        before += units
    assert refunded == net
