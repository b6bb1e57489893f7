"""Reorder: a list that adds up, edits that survive, and approvals that happen once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from streamlit.testing.v1 import AppTest

from dashboards.lib import actions, drafts
from dashboards.lib import snapshot as reader
from dashboards.lib.reorder_panels import editor_key
from dashboards.queries import reorder as lines_of
from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.feed.reader import Cursor
from oms_ops.purchasing import orders, reorder
from oms_ops.purchasing.orders import PurchaseLine
from oms_ops.purchasing.reorder import ApprovalLine
from tests.dashboards import operations, snapshot
from tests.dashboards.conftest import Open, metrics
from tests.dashboards.shop import Shop

BUYER = Actor("bruno", "merchandiser")


def _every(home: Path) -> Any:
    shown = reader.current()
    assert shown is not None
    return lines_of.lines(shown, lines_of.Filter())


def _edit(page: AppTest, edits: dict[int, dict[str, Any]]) -> AppTest:
    """Edit cells of the list, by row number."""
    editor = editor_key(page.session_state["reorder_drafts"])
    page.session_state[editor] = {"edited_rows": edits, "added_rows": [], "deleted_rows": []}
    return page.run()


def _orders(database: Engine) -> list[dict[str, Any]]:
    with reading(database) as connection:
        return [
            orders.get(connection, o["number"])
            for o in orders.listing(connection, operations.ADMIN)
        ]


def _approve_elsewhere(database: Engine, line: Any) -> str:
    shown = reader.current()
    assert shown is not None
    approval = ApprovalLine(
        line.sku, line.warehouse, int(line.suggested_quantity), int(line.suggested_quantity)
    )
    made = reorder.approve(
        database, BUYER, shown.list_id, shown.list_as_of, [approval],
        list_cursor=Cursor.parse(shown.cursor),
    )  # fmt: skip
    return str(made[0]["number"])


def test_every_line_is_a_sum_that_adds_up(home: Path) -> None:
    every = _every(home)
    assert len(every) > 100
    for line in every.to_dict("records"):
        bars = lines_of.steps(line)
        assert sum(bar["units"] for bar in bars[:-1]) == line["suggested_quantity"]
        assert bars[-2]["end"] == bars[-1]["end"] == line["suggested_quantity"]
        said = lines_of.sum_text(line)
        assert said.endswith(f"= **{line['suggested_quantity']:,d} units**")


def test_without_a_key_the_list_is_read_only_and_says_why(
    open_page: Open, database: Engine
) -> None:
    page = open_page("reorder")
    assert "OMS_API_KEY" in page.info[0].value
    assert not page.data_editor
    assert not [b for b in page.button if b.key == "approve"]


@pytest.mark.parametrize(("role", "reason"), [("analyst", "lacks"), ("warehouse", "lacks")])
def test_a_role_that_may_not_buy_cannot(
    role: str, reason: str, open_page: Open, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMS_API_KEY", operations.key(database, role, "someone"))
    page = open_page("reorder")
    assert reason in page.info[0].value
    assert not page.data_editor


def test_a_key_that_nobody_holds_cannot(
    open_page: Open, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMS_API_KEY", "oms_wrong")
    assert "No valid API key" in open_page("reorder").info[0].value


def test_an_approval_becomes_one_purchase_order_per_supplier_and_warehouse(
    open_page: Open, as_buyer: Engine, home: Path
) -> None:
    every = _every(home)
    page = _edit(open_page("reorder"), {n: {"tick": True} for n in range(12)})
    page.button(key="approve").click().run()
    assert not page.exception
    made = _orders(as_buyer)
    wanted = every.head(12).groupby(["supplier", "warehouse"]).size().to_dict()
    assert {(o["supplier"], o["warehouse"]): len(o["lines"]) for o in made} == wanted
    said = page.success[0].value
    assert all(o["number"] in said for o in made)
    done = next(t.value for t in page.dataframe if "approved_by" in t.value)
    assert set(done["purchase_order"]) == {o["number"] for o in made}
    assert set(done["approved_by"]) == {"mary"}
    assert metrics(page)["Lines to order"] == str(len(every) - 12)


def test_an_edited_quantity_is_the_quantity_ordered(
    open_page: Open, as_buyer: Engine, home: Path
) -> None:
    line = _every(home).iloc[0]
    units = int(line["suggested_quantity"] + 2 * line["pack_multiple"])
    page = _edit(open_page("reorder"), {0: {"tick": True, "order_quantity": units}})
    page.button(key="approve").click().run()
    (made,) = _orders(as_buyer)
    assert [(li["sku"], li["quantity"]) for li in made["lines"]] == [(line["sku"], units)]
    with reading(as_buyer) as connection:
        kept = connection.execute(
            sa.text("SELECT suggested_quantity, approved_quantity FROM reorder_approvals")
        ).one()
    assert tuple(kept) == (line["suggested_quantity"], units)


def test_work_on_the_list_survives_filters(open_page: Open, as_buyer: Engine, home: Path) -> None:
    every = _every(home)
    line = every[every["warehouse"] == "EAST"].iloc[0]
    row = int(every.index[(every["sku"] == line["sku"]) & (every["warehouse"] == "EAST")][0])
    units = int(line["suggested_quantity"] + line["pack_multiple"])
    page = _edit(open_page("reorder"), {row: {"tick": True, "order_quantity": units}})
    page.selectbox(key="warehouse").select("SOUTH").run()
    assert any("not in view" in c.value for c in page.caption)
    page.selectbox(key="warehouse").select("EAST").run()
    table = page.data_editor[0].value
    mine = table[table["sku"] == line["sku"]].iloc[0]
    assert (bool(mine["tick"]), mine["order_quantity"]) == (True, units)


def test_a_quantity_that_the_supplier_would_refuse_is_named_before_approving(
    open_page: Open, as_buyer: Engine, home: Path
) -> None:
    every = _every(home)
    row = int(every.index[every["pack_multiple"] > 1][0])
    line = every.iloc[row]
    page = _edit(open_page("reorder"), {row: {"tick": True, "order_quantity": 1}})
    said = page.warning[0].value
    assert f"{line['sku']} at {line['warehouse']}" in said
    assert f"packs of {line['pack_multiple']}" in said
    assert f"minimum order is {line['moq']}" in said
    assert page.button(key="approve").disabled
    page.button(key="mend").click().run()
    assert not page.warning
    assert not page.button(key="approve").disabled
    mended = page.data_editor[0].value.iloc[row]["order_quantity"]
    assert mended >= line["moq"]
    assert mended % line["pack_multiple"] == 0


def test_a_line_approved_twice_is_refused_with_its_first_order(
    open_page: Open, as_buyer: Engine, home: Path
) -> None:
    line = _every(home).iloc[0]
    page = _edit(open_page("reorder"), {0: {"tick": True}, 1: {"tick": True}})
    number = _approve_elsewhere(as_buyer, line)
    page.button(key="approve").click().run()
    assert not page.exception
    assert f"already approved: {number}" in page.error[0].value
    assert "Nothing was ordered" in page.error[0].value
    # All or nothing: the second ticked line was not ordered either.
    assert len(_orders(as_buyer)) == 1


def test_a_line_ordered_since_the_list_was_made_is_refused(
    open_page: Open, as_buyer: Engine, home: Path
) -> None:
    line = _every(home).iloc[0]
    page = _edit(open_page("reorder"), {0: {"tick": True}})
    placed = run(
        as_buyer,
        lambda c: orders.create(
            c, BUYER, supplier=line["supplier"], warehouse=line["warehouse"],
            lines=[PurchaseLine(line["sku"], int(line["suggested_quantity"]))],
        ),
    )  # fmt: skip
    page.button(key="approve").click().run()
    assert f"ordered after this list was made: {placed['number']}" in page.error[0].value
    assert len(_orders(as_buyer)) == 1


def test_a_list_that_was_replaced_is_refused_and_the_work_kept(
    open_page: Open, as_buyer: Engine, home: Path, simulated: Shop
) -> None:
    page = _edit(open_page("reorder"), {0: {"tick": True}})
    snapshot.publish(home, run_id="run-of-today", shop=simulated)
    page.button(key="approve").click().run()
    assert not page.exception
    assert "a newer one was published" in page.error[0].value
    assert not _orders(as_buyer)
    assert "carried over" in page.info[0].value
    page.button(key="approve").click().run()
    assert len(_orders(as_buyer)) == 1


def test_a_list_too_old_to_be_true_is_refused(open_page: Open, as_buyer: Engine) -> None:
    page = _edit(open_page("reorder"), {0: {"tick": True}})
    assert not page.warning
    shown = reader.current()
    assert shown is not None
    with clock.at(shown.list_as_of + timedelta(hours=37)):
        outcome = actions.approve(shown, [ApprovalLine("820000", "EAST", 24, 24)])
    assert "37 hours old" in outcome.refusal


def test_a_pressed_button_with_nothing_ticked_orders_nothing(
    open_page: Open, as_buyer: Engine
) -> None:
    page = open_page("reorder")
    page.button(key="tick_all").click().run()
    page.button(key="untick_all").click().run()
    assert not [b for b in page.button if b.key == "approve"]
    assert not _orders(as_buyer)


def test_tick_all_orders_the_whole_list(open_page: Open, as_buyer: Engine, home: Path) -> None:
    page = open_page("reorder")
    page.button(key="tick_all").click().run()
    page.button(key="approve").click().run()
    assert "Every line is ordered" in page.info[0].value
    assert sum(len(o["lines"]) for o in _orders(as_buyer)) == len(_every(home))


def test_a_line_explains_itself_by_its_url(open_page: Open, as_buyer: Engine, home: Path) -> None:
    line = _every(home).iloc[3]
    page = open_page("reorder", line=f"{line['sku']} at {line['warehouse']}")
    sum_of_line = lines_of.sum_text(dict(line))
    assert sum_of_line in [m.value for m in page.markdown]
    assert len(page.get("vega_lite_chart")) == 2


def test_rounding_up_keeps_minimum_and_packs() -> None:
    assert drafts.rounded(1, moq=10, pack=12) == 12
    assert drafts.rounded(25, moq=10, pack=12) == 36
    assert drafts.rounded(0, moq=1, pack=1) == 1
    assert not drafts.faults("A", 36, moq=10, pack=12)
