"""Nowhere is a card's number taken: not in a note, a name, a reason, a draft or a form."""

from __future__ import annotations

import time
from typing import Any

import pytest

from oms_ops.cards import looks_like_card
from tests.oms_ops.payments.desk import Desk, codes, number
from tests.oms_ops.payments.till import Till
from tests.oms_ops.shop import Shop, order
from tests.oms_ops.test_bulk import captured

CARD = "4242 4242 4242 4242"
WRITTEN = f"please take {CARD} 12/30, code 123"


@pytest.fixture
def desk(till: Till) -> Desk:
    return Desk(till)


@pytest.mark.parametrize(
    "text",
    [
        CARD, "4242424242424242", "4242.4242.4242.4242", "4242  4242  4242  4242",
        "4242\u00a04242\u00a04242\u00a04242", "4242\u20134242\u20134242\u20134242",
        "4242\n4242\n4242\n4242", "4242\u200b4242\u200b4242\u200b4242",
        "\uff14\uff12" * 8, f"{CARD} 12/30", f"{CARD} 123", f"2 x {CARD}", f"1 {CARD}",
        "3782 822463 10005", "5555555555554444", "2223003122003222", "6011111111111117",
        "4242:4242:4242:4242", "4242|4242|4242|4242", "(4242)(4242)(4242)(4242)",
        "4242    4242    4242    4242", "4242&nbsp;4242&nbsp;4242&nbsp;4242",
        "30569309025904", "3530111333300000", "6200000000000005",
    ],
)  # fmt: skip
def test_a_number_is_seen_however_it_is_written(text: str) -> None:
    assert looks_like_card(text)
    assert looks_like_card(f"it is {text}, thanks")


@pytest.mark.parametrize(
    "text",
    [
        "", "4242424242424241", "+49 1512 3456784", "5500000000004", "4006381333931",
        "42424242424242421", "4242 4242 4242 4241", "2026-11-29 09:07:58.123456", "0" * 16,
        "SO-10000001, SO-10000002", "1Z9999W99999999999", "420303019400111899223100",
        # Beside one another these would be a card's number.
        "+49 30 4242424 / +49 242 4242422", "(424) 242-4242 / (424) 242-2",
        "(424) 242-4242 (#424242)",
    ],
)  # fmt: skip
def test_other_numbers_are_no_cards(text: str) -> None:
    assert not looks_like_card(text)


def test_a_long_text_is_looked_through_in_a_moment(desk: Desk) -> None:
    begun = time.perf_counter()
    assert not looks_like_card("1 " * 40_000)
    # What is longer than any field may be is refused for that.
    body = {"amount": "1.00", "reason": "4 " * 1_000_000}
    assert codes(desk.post("/payments/1/refunds", body, role="support")) == {
        "reason": "string_too_long"
    }
    assert time.perf_counter() - begun < 4


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/orders", order(("SKU-1", 1), note=WRITTEN), "note"),
        ("/orders", order(("SKU-1", 1), customer={"email": "a@example.com", "name": CARD}),
         "customer.name"),
        ("/orders", order(("SKU-1", 1), ship_to={"name": "Bob", "line1": "1 Main Street",
                                                 "line2": WRITTEN, "country": "GB"}),
         "ship_to.line2"),
        ("/orders", order(("SKU-1", 1), **{CARD: "x"}), "body"),
        ("/orders/{order}/amend", {"note": WRITTEN}, "note"),
        ("/orders/{order}/amend", {CARD: "x"}, "body"),
        ("/orders/{order}/hold", {"reason": WRITTEN}, "reason"),
        ("/orders/{order}/cancel", {"reason": WRITTEN}, "reason"),
        ("/orders/{order}/cancel", {"reason": "no", CARD: "x"}, "body"),
        ("/drafts", order(("SKU-1", 1), note=WRITTEN), "note"),
        ("/drafts", {"card": {"number": CARD}}, "card.number"),
        ("/returns", {"order": "{order}", "reason": WRITTEN,
                      "lines": [{"line_no": 1, "quantity": 1, "reason": "damaged"}]}, "reason"),
        ("/returns", {"order": "{order}", "lines": [{"line_no": 1, "quantity": 1, "note": CARD}]},
         "lines[0].note"),
        ("/returns", {"order": "{order}", "override": CARD,
                      "lines": [{"line_no": 1, "quantity": 1, "reason": "damaged"}]}, "override"),
        ("/returns/RM-1/refuse", {"reason": WRITTEN}, "reason"),
        ("/shipments/1/fail", {"reason": WRITTEN}, "reason"),
    ],
)  # fmt: skip
def test_what_people_write_holds_no_card(
    desk: Desk, caplog: pytest.LogCaptureFixture, path: str, body: Any, field: str
) -> None:
    caplog.set_level("DEBUG")
    name = number(desk.till.sell(("SKU-1", 2)))
    if "order" in body:
        body = {**body, "order": name}
    before = desk.till.shop.count("change_log")
    refused = desk.post(path.format(order=name), body, role="admin", key="k")
    assert codes(refused)[field] == "card_number"
    assert not looks_like_card(refused.text)
    assert CARD not in caplog.text
    # Nothing was written, not even the key.
    assert desk.till.shop.count("change_log") == before
    assert desk.till.shop.rows("SELECT key FROM idempotency_keys") == []


def test_the_customers_form_takes_no_card(desk: Desk) -> None:
    order_id = desk.till.sell(("SKU-1", 2))
    desk.till.ship(order_id)
    token = desk.till.shop.rows("SELECT tracking_token FROM orders")[0][0]
    form = {"quantity_1": "1", "reason_1": "damaged", "note": WRITTEN}
    answer = desk.client().post(f"/track/{token}/returns", data=form, follow_redirects=False)
    assert answer.status_code == 422
    assert "no card number" in answer.text
    assert not looks_like_card(answer.text)
    assert desk.till.shop.count("returns") == 0


def test_a_batch_takes_no_card(shop: Shop) -> None:
    shop.stock("SKU-1", 9)
    line = {"lines": [("SKU-1", 1)]}
    result = captured(shop, [line, {**line, "note": WRITTEN}, {**line, "ship_line1": CARD}])
    assert result.orders == 1
    found = [[(e.field, e.code) for e in each.errors] for each in result.rejected]
    assert found == [[("note", "card_number")], [("ship_line1", "card_number")]]
    assert not any(looks_like_card(str(each)) for each in result.rejected)
