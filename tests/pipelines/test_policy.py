"""A reorder line adds up, and its numbers are the textbooks'."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.lib import policy


def _sigma(demand: float, deviation: float, protection: float, lead_deviation: float) -> float:
    expression = policy.protection_deviation(
        pl.lit(demand), pl.lit(deviation), pl.lit(protection), pl.lit(lead_deviation)
    )
    value: float = pl.select(expression).item()
    return value


def test_safety_stock_with_varying_demand_and_lead_time() -> None:
    sigma = _sigma(2500, 500, 7, 7)
    assert sigma == pytest.approx(17_550, abs=1)
    assert policy.z_value(0.90) * sigma == pytest.approx(22_491, abs=1)


def test_reorder_point() -> None:
    assert 150 * 5 + 1.65 * _sigma(150, 16, 5, 1) == pytest.approx(1_004, abs=0.5)


def test_order_up_to_covers_lead_time_and_review() -> None:
    safety = policy.z_value(0.90) * _sigma(2500, 500, 2 + 4, 0)
    assert safety == pytest.approx(1_570, abs=0.5)
    assert 2500 * 6 + safety == pytest.approx(16_570, abs=0.5)


def stock(**changes: object) -> pl.DataFrame:
    """Return one row of stock: 10 a day, 5 days of lead time, looked at every 7 days."""
    row: dict[str, object] = {
        "warehouse": "ATL",
        "sku": "SKU-1",
        "average_daily_demand": 10.0,
        "demand_standard_deviation": 0.0,
        "lead_time_days": 5,
        "lead_time_standard_deviation": 0.0,
        "review_days": 7,
        "on_hand": 0,
        "on_order": 0,
        "allocated": 0,
        "backordered": 0,
        "moq": 1,
        "pack_multiple": 1,
    }
    return pl.DataFrame([{**row, **changes}])


def test_a_sku_is_ordered_at_its_reorder_point_and_not_above_it() -> None:
    assert policy.reorder(stock(on_hand=50), 0.95)["suggested_quantity"].to_list() == [70]
    assert policy.reorder(stock(on_hand=51), 0.95).is_empty()


def test_what_is_owed_and_what_is_coming_count() -> None:
    line = policy.reorder(stock(on_hand=30, on_order=20, allocated=5, backordered=3), 0.95)
    assert line["inventory_position"].item() == 42
    assert line["suggested_quantity"].item() == 120 - 42


def test_the_excess_of_minimum_and_pack_is_stored_apart() -> None:
    line = policy.reorder(stock(on_hand=50, moq=100, pack_multiple=24), 0.95).row(0, named=True)
    assert (line["moq_excess"], line["pack_excess"], line["suggested_quantity"]) == (30, 20, 120)


def test_what_neither_sells_nor_is_owed_is_never_ordered() -> None:
    assert policy.reorder(stock(average_daily_demand=0.0), 0.95).is_empty()
    assert policy.reorder(stock(average_daily_demand=None), 0.95).is_empty()
    owed = policy.reorder(stock(average_daily_demand=0.0, backordered=2), 0.95)
    assert owed["suggested_quantity"].item() == 2


def test_binary_noise_buys_nothing() -> None:
    line = policy.reorder(stock(average_daily_demand=0.1, lead_time_days=23, on_hand=0), 0.95)
    assert line["demand_quantity"].item() == 3  # 0.1 * 30 is 3.0000000000000004


@pytest.mark.parametrize(
    ("on_hand", "allocated", "urgency"),
    [(0, 0, "stocked_out"), (20, 10, "below_safety"), (60, 0, "below_reorder_point")],
)
def test_urgency(on_hand: int, allocated: int, urgency: str) -> None:
    line = policy.reorder(
        stock(on_hand=on_hand, allocated=allocated, demand_standard_deviation=4.0), 0.95
    )
    assert line["safety_quantity"].item() == 23
    assert line["urgency"].item() == urgency
    assert "Sells 10.0 a day" in line["reason"].item()


units = st.integers(0, 100_000)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "average_daily_demand": st.floats(0, 10_000),
                "demand_standard_deviation": st.floats(0, 10_000),
                "lead_time_days": st.integers(0, 200),
                "lead_time_standard_deviation": st.floats(0, 60),
                "review_days": st.integers(1, 60),
                "on_hand": units,
                "on_order": units,
                "allocated": units,
                "backordered": units,
                "moq": st.integers(1, 5_000),
                "pack_multiple": st.integers(1, 500),
            }
        ),
        min_size=1,
        max_size=30,
    ),
    st.floats(0.01, 0.999),
)
def test_every_waterfall_sums_exactly(rows: list[dict[str, object]], service_level: float) -> None:
    for line in policy.reorder(pl.DataFrame(rows), service_level).iter_rows(named=True):
        waterfall = (
            line["demand_quantity"]
            + line["safety_quantity"]
            - line["on_hand"]
            - line["on_order"]
            + line["allocated"]
            + line["backordered"]
            + line["moq_excess"]
            + line["pack_excess"]
        )
        assert line["suggested_quantity"] == waterfall
        assert line["suggested_quantity"] >= line["moq"]
        assert line["suggested_quantity"] % line["pack_multiple"] == 0
        assert 0 <= line["pack_excess"] < line["pack_multiple"]
        assert line["inventory_position"] <= line["reorder_point"]
        position = line["inventory_position"] + line["suggested_quantity"]
        assert position >= line["order_up_to"]


def _times(
    receipts: dict[str, list[float]], agreed: dict[str, int]
) -> dict[str, tuple[int, float]]:
    frame = pl.DataFrame(
        [(supplier, days) for supplier, all_days in receipts.items() for days in all_days],
        schema={"supplier": pl.String, "days": pl.Float64},
        orient="row",
    )
    suppliers = pl.DataFrame(
        list(agreed.items()), schema={"supplier": pl.String, "agreed_days": pl.Int64}, orient="row"
    )
    found = policy.lead_times(frame, suppliers)
    return {row[0]: (row[1], row[2]) for row in found.iter_rows()}


def test_without_receipts_the_agreed_lead_time_stands() -> None:
    assert _times({}, {"ACME": 7}) == {"ACME": (7, 0.0)}


def test_many_late_receipts_move_the_lead_time_and_few_hardly_do() -> None:
    many = _times({"ACME": [14.0, 16.0] * 100}, {"ACME": 7})
    few = _times({"ACME": [15.0]}, {"ACME": 7})
    assert many["ACME"][0] == 15
    assert many["ACME"][1] == pytest.approx(1.0, abs=0.05)
    assert few["ACME"][0] == 8


def test_a_supplier_without_receipts_takes_the_others_spread() -> None:
    times = _times({"ACME": [5.0, 9.0] * 50}, {"ACME": 7, "NEW": 10})
    assert times["NEW"][0] == 10
    assert times["NEW"][1] == pytest.approx(2.0, abs=0.05)
