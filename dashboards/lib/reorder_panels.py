"""The parts of the reorder page: the list to edit, the orders to place, one line's story."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboards.lib import charts, drafts, formats, tables
from dashboards.lib.actions import Outcome
from dashboards.lib.drafts import Drafts, Key
from dashboards.lib.metrics import explain
from dashboards.lib.snapshot import Snapshot
from dashboards.queries import reorder

if TYPE_CHECKING:
    import pandas as pd

_NAMES = (
    "sku", "sku_name", "warehouse", "urgency", "suggested_quantity", "order_quantity",
    "order_value", "on_hand", "on_order", "allocated", "backordered", "average_daily_demand",
    "weekly_demand", "cover_days", "supplier_name", "moq", "pack_multiple", "unit_cost",
    "next_expected_on", "department", "category",
)  # fmt: skip


def tell(outcome: Outcome) -> None:
    """Say what became of the last approval."""
    if outcome.refusal:
        listed = "".join(f"\n- {detail}" for detail in outcome.details[:20])
        st.error(f"{outcome.refusal}{listed}", title="Not approved", icon=":material/block:")
        return
    listed = "\n".join(
        f"- **{order['number']}** · {order['supplier_name']} to {order['warehouse']} ·"
        f" {formats.plural(len(order['lines']), 'line')} ·"
        f" {formats.money(Decimal(order['total']), order['currency'], cents=True)} ·"
        f" expected {formats.day(date.fromisoformat(order['expected_on']))}"
        for order in outcome.orders
    )
    title = f"{formats.plural(len(outcome.orders), 'purchase order')} placed"
    st.success(listed, title=title, icon=":material/check_circle:")


def summary(matching: pd.DataFrame, currency: str) -> None:
    """Draw the key figures of the lines that match the filters."""
    out = (matching["urgency"] == reorder.URGENCIES["stocked_out"]).sum()
    cards = (
        ("Lines to order", formats.count(len(matching)), "match the filters", "reorder_lines"),
        ("Suggested units", formats.count(matching["suggested_quantity"].sum()), "in all",
         "suggested_quantity"),
        ("Suggested value", formats.money(matching["line_value"].sum(), currency), "at cost", None),
        ("Stocked out", formats.count(out), "of these lines", "stock_outs"),
    )  # fmt: skip
    with st.grid(4, min_column_width=160, gap="small"):
        for label, value, note, metric in cards:
            st.metric(
                label, value, delta_description=note, border=True, height="stretch",
                help=explain(metric) if metric else None,
            )  # fmt: skip


def _configured(currency: str, on_explain: Callable[[], None]) -> dict[str, Any]:
    kinds = st.column_config
    plain = [name for name in _NAMES if name in tables.COLUMNS]
    return tables.config(plain, currency) | {
        "tick": kinds.CheckboxColumn("Order", width=70, pinned=True),
        "why": kinds.ButtonColumn(
            "", type="tertiary", width=60, pinned=True, on_click=on_explain, key="explain_line"
        ),
        "order_quantity": kinds.NumberColumn(
            "Order, units", width=115, min_value=1, step=1, format="%,d", required=True,
            help="Units to order. Change them to order more or less than suggested.",
        ),
        "weekly_demand": kinds.BarChartColumn(
            f"Units sold, last {reorder.WEEKS} weeks", width=150, y_min=0
        ),
    }  # fmt: skip


def editor_key(work: Drafts) -> str:
    """Return the widget key of the table of lines."""
    return f"reorder_editor_{work.revision}"


def line_table(rows: pd.DataFrame, currency: str, work: Drafts, *, editable: bool) -> None:
    """Draw the lines; with ``editable`` they can be ticked and their quantities changed."""
    import pandas as pd

    keys: list[Key] = list(rows["key"])

    def on_explain() -> None:
        sku, place = keys[st.session_state["explain_line"].row]
        st.session_state["line"] = line_name(sku, place)

    configured = _configured(currency, on_explain)
    table = rows[["tick", *_NAMES]].copy(deep=False)
    table.insert(1, "why", "Why?")
    # Pending edits belong to rows by position; other rows have another index, which drops them.
    table.index = pd.Index([line_name(*key) for key in keys])
    if not editable:
        st.dataframe(
            table.drop(columns=["tick", "order_quantity", "order_value"]), hide_index=True,
            column_config=configured, key="reorder_rows", alt="Reorder list", placeholder="–",
        )  # fmt: skip
        return
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Tick all shown", key="tick_all", icon=":material/done_all:",
            on_click=work.tick, args=(keys,),
        )  # fmt: skip
        st.button(
            "Untick all", key="untick_all", on_click=work.untick_all, disabled=not work.ticked
        )
        st.button(
            "Back to suggestions", key="reset_all", on_click=work.reset_quantities,
            disabled=not work.quantities, help="Drops every changed quantity.",
        )  # fmt: skip
    editor = editor_key(work)
    st.data_editor(
        table, hide_index=True, column_config=configured, key=editor, placeholder="–",
        disabled=[name for name in table.columns if name not in ("tick", "order_quantity")],
        on_change=lambda: work.take(keys, st.session_state[editor]["edited_rows"]),
        alt="Reorder list with editable quantities",
    )  # fmt: skip
    work.take(keys, st.session_state[editor]["edited_rows"])


def order_panel(
    chosen: pd.DataFrame, shown: set[Key], snapshot: Snapshot, work: Drafts,
    *, approve: Callable[[], None], buyer: str, too_old: bool,
) -> None:  # fmt: skip
    """Draw what would be ordered, what suppliers would object to, and the button that orders."""
    st.subheader("Purchase orders to place")
    if chosen.empty:
        st.caption("Tick the lines to order; each supplier and warehouse gets one purchase order.")
        return
    orders = chosen.groupby(["supplier_name", "warehouse"], as_index=False).agg(
        lines=("sku", "size"), order_quantity=("order_quantity", "sum"),
        order_value=("order_value", "sum"), lead_time_days=("lead_time_days", "max"),
    )  # fmt: skip
    tables.show(orders, snapshot, alt="Totals per supplier and warehouse", key="totals")
    hidden = len(set(chosen["key"]) - shown)
    if hidden:
        st.caption(f"{formats.plural(hidden, 'ticked line')} not in view because of the filters.")
    objections = {
        row.key: said
        for row in chosen.itertuples()
        if (said := drafts.faults(row.sku, row.order_quantity, row.moq, row.pack_multiple))
    }
    if objections:
        _objections(objections, chosen, work)
    st.button(
        f"Approve {formats.plural(len(chosen), 'line')} ·"
        f" {formats.plural(len(orders), 'purchase order')} ·"
        f" {formats.money(chosen['order_value'].sum(), snapshot.currency, cents=True)}",
        key="approve", type="primary", icon=":material/check:", on_click=approve,
        disabled=bool(objections) or too_old, help=f"Places the purchase orders as {buyer}.",
    )  # fmt: skip


def _objections(objections: dict[Key, list[str]], chosen: pd.DataFrame, work: Drafts) -> None:
    listed = "".join(
        f"\n- **{line_name(*key)}**: {'; '.join(m.partition(': ')[2] or m for m in said)}"
        for key, said in list(objections.items())[:15]
    )
    st.warning(
        f"The suppliers would refuse these quantities:{listed}",
        title=f"{formats.plural(len(objections), 'line')} to mend before approving",
        icon=":material/rule:",
    )

    mended = {
        row.key: drafts.rounded(row.order_quantity, row.moq, row.pack_multiple)
        for row in chosen.itertuples()
        if row.key in objections
    }
    st.button(
        "Round up to minimum and packs", key="mend", on_click=work.set_quantities, args=(mended,)
    )


def line_name(sku: str, warehouse: str) -> str:
    """Return how a line is named in the URL and in messages."""
    return f"{sku} at {warehouse}"


def story(line: dict[str, Any], snapshot: Snapshot, ordered: int | None) -> None:
    """Draw one line's sum, as a waterfall and in words, and the demand it counts on."""
    import pandas as pd

    st.markdown(f"**{line['sku_name']}** · {line['supplier_name']} · {line['urgency']}")
    st.caption(line["reason"])
    left, right = st.columns([3, 2])
    with left.container(border=True, height="stretch"):
        st.markdown("**How the suggestion adds up**", help=explain("suggested_quantity"))
        st.altair_chart(
            charts.waterfall(pd.DataFrame(reorder.steps(line))),
            alt="Waterfall from demand to the suggested quantity",
        )
        st.markdown(reorder.sum_text(line))
        if ordered is not None and ordered != int(line["suggested_quantity"]):
            difference = ordered - int(line["suggested_quantity"])
            st.caption(f"You order {ordered:,d} units, {difference:+,d} against the suggestion.")
    with right.container(border=True, height="stretch"):
        st.markdown("**Units ordered per day**", help=explain("average_daily_demand"))
        st.altair_chart(
            charts.demand_days(
                reorder.demand(snapshot, line["sku"], line["warehouse"]),
                float(line["average_daily_demand"]),
            ),
            alt="Units ordered per day with the mean the suggestion counts on",
        )
        st.caption(
            "Line: the mean of the dark days. Red days ended without stock and are left out of it;"
            " light ones are not among the 28."
        )
        st.table(_facts(line), border="horizontal")


def _facts(line: dict[str, Any]) -> dict[str, str]:
    demand, sigma = line["average_daily_demand"], line["demand_standard_deviation"]
    return {
        "Mean demand": f"{demand:,.2f} ± {sigma:,.2f} units/day"
        f" ({formats.plural(int(line['demand_days']), 'day')} with stock)",
        "Protection": f"{line['lead_time_days']} days lead time"
        f" (± {line['lead_time_standard_deviation']:.1f}) + {line['review_days']} days review",
        "Service level": f"{formats.percent(line['service_level'], 0)} (z = {line['z']:.3f})",
        "Position": f"{line['inventory_position']:,d} units,"
        f" reorder point {line['reorder_point']:,d}, order up to {line['order_up_to']:,d}",
    }


def done(ordered: dict[Key, dict[str, Any]], every: pd.DataFrame, snapshot: Snapshot) -> None:
    """Draw the lines of this list that are ordered, with their purchase orders."""
    import pandas as pd

    from oms_ops.database import read_time

    st.subheader("Ordered from this list")
    suggested = {
        (row.sku, row.warehouse): (row.sku_name, row.suggested_quantity)
        for row in every.itertuples()
    }
    rows = []
    for (sku, place), entry in ordered.items():
        name, units = suggested.get((sku, place), ("", None))
        moment = read_time(entry["approved_at"])
        rows.append(
            {
                "purchase_order": entry["number"], "sku": sku, "sku_name": name,
                "warehouse": place, "suggested_quantity": units,
                "approved_quantity": entry["approved_quantity"],
                "approved_by": entry["approved_by"],
                "approved_at": formats.moment(moment, snapshot.zone) if moment else "",
            }
        )  # fmt: skip
    table = pd.DataFrame(rows).sort_values(["purchase_order", "sku"], ascending=[False, True])
    tables.show(table, snapshot, alt="Lines ordered from this list", key="ordered")
