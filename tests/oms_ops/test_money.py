"""Promise 4: money is integer minor units, and parts sum to the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_ops.money import spread, to_minor, to_text
from oms_ops.returns import worth


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


@given(
    st.integers(0, 5_000),
    st.data(),
    st.lists(st.integers(1, 50), min_size=1, max_size=10),
    st.booleans(),
)
def test_what_all_units_of_a_line_are_worth_is_what_it_costs(
    price: int, data: st.DataObject, cuts: list[int], included: bool
) -> None:
    quantity = sum(cuts)
    gross = price * quantity
    discount = data.draw(st.integers(0, gross))
    tax = data.draw(st.integers(0, gross - discount))
    line = {"quantity": quantity, "unit_price_minor": price, "discount_minor": discount,
            "rounding_minor": 0, "tax_minor": tax, "tax_included": included, "cancelled": 0,
            "gone_minor": 0}  # fmt: skip
    parts, before = [], 0
    for units in cuts:
        parts.append(worth.of(line, before, units))
        before += units
        line["gone_minor"] += parts[-1].refund
    assert sum(part.refund for part in parts) == gross - discount + (0 if included else tax)
    assert sum(part.tax for part in parts) == tax
    assert all(0 <= part.tax <= part.refund for part in parts)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 1_000_000),
)
def test_a_fee_is_spread_over_the_lines_that_bear_it_to_the_cent(
    lines: list[tuple[int, bool]], ppm: int
) -> None:
    values = [worth.Worth(value, value // 6) for value, _ in lines]
    less = worth.less_fee(values, [bears for _, bears in lines], ppm)
    base = sum(value for value, bears in lines if bears)
    assert sum(each.fee for each in less) == (2 * base * ppm + 1_000_000) // 2_000_000
    for (value, bears), each in zip(lines, less, strict=True):
        assert each.refund + each.fee == value
        assert bears or not each.fee
        assert 0 <= each.tax <= each.refund


def test_included_tax_goes_with_the_units_that_are_worth_something() -> None:
    line = {"quantity": 124, "unit_price_minor": 1907, "discount_minor": 236_466,
            "rounding_minor": 0, "tax_minor": 1, "tax_included": True, "cancelled": 0,
            "gone_minor": 0}  # fmt: skip
    parts, before = [], 0
    for units in (1, 23, 50, 50):
        parts.append(worth.of(line, before, units))
        before += units
    assert [(part.refund, part.tax) for part in parts] == [(1, 0), (0, 0), (1, 1), (0, 0)]
