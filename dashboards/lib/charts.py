"""Altair charts; colours and fonts come from the theme, the days are the shop's days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    Layers = alt.LayerChart | alt.FacetChart

#: The name of the row that sums what is not listed.
OTHERS = "All others"
ACCENT, MUTED, WARN, GOOD = "#0f766e", "#cbd5e1", "#dc2626", "#15803d"
_HEIGHT = 260


def _days() -> Any:
    import altair as alt

    # Days are midnights without a zone; read as UTC they stay the same day in every browser.
    return alt.X(
        "utcyearmonthdate(day):O", title=None,
        axis=alt.Axis(
            labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelOverlap="greedy",
            labelAngle=0, labelSeparation=12, ticks=False,
        ),
    )  # fmt: skip


def _day_tip() -> Any:
    import altair as alt

    return alt.Tooltip("utcyearmonthdate(day):T", title="Day", format="%a %-d %b %Y")


def _amounts(title: str) -> Any:
    import altair as alt

    # Through an expression, because the axis' own format writes the zero as "0k".
    return alt.Axis(title=title, labelExpr="format(datum.value, '~s')", tickCount=5)


def daily_with_average(frame: pd.DataFrame, currency: str) -> Layers:
    """Bars of ``net_sales`` per ``day`` with the line of ``average`` over seven days."""
    import altair as alt

    tips = [
        _day_tip(),
        alt.Tooltip("net_sales:Q", title=f"Net sales, {currency}", format=",.2f"),
        alt.Tooltip("average:Q", title=f"7-day average, {currency}", format=",.2f"),
    ]
    y = alt.Y("net_sales:Q", axis=_amounts(f"Net sales, {currency}"))
    base = alt.Chart(frame)
    bars = base.mark_bar(color=MUTED).encode(x=_days(), y=y, tooltip=tips)
    line = base.mark_line(color=ACCENT, strokeWidth=2.5).encode(
        x=_days(), y="average:Q", tooltip=tips
    )
    return alt.layer(bars, line).properties(height=_HEIGHT)


def daily_against_before(frame: pd.DataFrame, currency: str) -> Layers:
    """Line of ``net_sales`` per ``day`` over the dashed line of ``before``, one period earlier."""
    import altair as alt

    tips = [
        _day_tip(),
        alt.Tooltip("net_sales:Q", title=f"Net sales, {currency}", format=",.2f"),
        alt.Tooltip("before:Q", title=f"One period earlier, {currency}", format=",.2f"),
    ]
    y = alt.Y("net_sales:Q", axis=_amounts(f"Net sales, {currency}"))
    base = alt.Chart(frame)
    before = base.mark_line(color="#94a3b8", strokeDash=[4, 3]).encode(x=_days(), y="before:Q")
    now = base.mark_line(color=ACCENT, strokeWidth=2.5, point={"size": 22}).encode(
        x=_days(), y=y, tooltip=tips
    )
    return alt.layer(before, now).properties(height=_HEIGHT)


def weekly_rates(frame: pd.DataFrame) -> alt.Chart:
    """A line of ``share`` per ``week`` for each ``rate``."""
    import altair as alt

    return (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.5, point={"size": 28})
        .encode(
            x=alt.X(
                "utcyearmonthdate(week):O", title=None,
                axis=alt.Axis(
                    labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelAngle=0,
                    labelOverlap="greedy", labelSeparation=12, ticks=False,
                ),
            ),
            y=alt.Y(
                "share:Q", axis=alt.Axis(title=None, format=".0%", tickCount=5),
                scale=alt.Scale(zero=False),
            ),
            color=alt.Color(
                "rate:N", title=None, sort="descending",
                scale=alt.Scale(range=["#f59e0b", ACCENT]), legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("utcyearmonthdate(week):T", title="Week of", format="%-d %b %Y"),
                alt.Tooltip("rate:N", title=" "),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=_HEIGHT)
    )  # fmt: skip


def ranked_bars(
    frame: pd.DataFrame, name: str, value: str, title: str, *, form: str = ".3~s"
) -> Layers:
    """Horizontal bars of ``value`` by ``name`` in the frame's order, with the value written."""
    import altair as alt

    # Room on the right for the written value of the longest bar.
    longest = max(0.0, float(frame[value].max() or 0)) * 1.2 or 1.0
    base = alt.Chart(frame).encode(
        y=alt.Y(f"{name}:N", sort=None, title=None, axis=alt.Axis(labelLimit=150)),
        x=alt.X(f"{value}:Q", title=None, axis=None, scale=alt.Scale(domainMax=longest)),
        tooltip=[
            alt.Tooltip(f"{name}:N", title=" "),
            alt.Tooltip(f"{value}:Q", title=title, format=",.2f"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=alt.condition(
            alt.datum[name] == OTHERS, alt.value("#94a3b8"), alt.value(ACCENT)
        )
    )  # fmt: skip
    text = base.mark_text(align="left", dx=4, color="#475569").encode(
        text=alt.Text(f"{value}:Q", format=form)
    )
    return alt.layer(bars, text).properties(height=24 + 28 * len(frame))


def stock_history(frame: pd.DataFrame) -> Layers:
    """Closing ``on_hand`` per ``day``; days without stock are marked along the bottom."""
    import altair as alt

    tips = [
        _day_tip(),
        alt.Tooltip("on_hand:Q", title="On hand, units", format=",d"),
        alt.Tooltip("received:Q", title="Received, units", format=",d"),
        alt.Tooltip("shipped:Q", title="Shipped, units", format=",d"),
    ]
    base = alt.Chart(frame)
    area = base.mark_area(
        color=ACCENT, opacity=0.25, line={"color": ACCENT}, interpolate="step-after"
    )
    level = area.encode(x=_days(), y=alt.Y("on_hand:Q", title="On hand, units"), tooltip=tips)
    empty = (
        base.transform_filter("datum.is_stocked_out")
        .mark_point(color=WARN, filled=True, size=60, shape="square")
        .encode(x=_days(), y=alt.datum(0), tooltip=tips)
    )
    return alt.layer(level, empty).properties(height=_HEIGHT)


def rfm_heat_map(frame: pd.DataFrame) -> Layers:
    """Customers per recency and value score, the best corner at the top right."""
    import altair as alt

    base = alt.Chart(frame).encode(
        x=alt.X("value_score:O", title="Frequency and money score", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("recency_score:O", title="Recency score", sort="descending"),
        tooltip=[
            alt.Tooltip("recency_score:O", title="Recency"),
            alt.Tooltip("value_score:O", title="Frequency and money"),
            alt.Tooltip("customers:Q", title="Customers", format=",d"),
            alt.Tooltip("net_sales:Q", title="Net sales", format=",.2f"),
            alt.Tooltip("segment:N", title="Segment"),
        ],
    )
    cells = base.mark_rect(cornerRadius=2).encode(
        color=alt.Color(
            "customers:Q", title="Customers",
            scale=alt.Scale(range=["#f0fdfa", "#99f6e4", "#2dd4bf", "#0f766e"]),
        )
    )  # fmt: skip
    middle = float(frame["customers"].max() or 0) * 0.75
    text = base.mark_text().encode(
        text=alt.Text("customers:Q", format=",d"),
        color=alt.condition(
            f"datum.customers > {middle}", alt.value("white"), alt.value("#134e4a")
        ),
    )
    return alt.layer(cells, text).properties(height=300)


def waterfall(frame: pd.DataFrame) -> Layers:
    """Steps (``step``, ``units``, ``start``, ``end``, ``kind``) from demand to the suggestion."""
    import altair as alt

    base = alt.Chart(frame).encode(
        x=alt.X("step:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, labelLimit=110)),
        tooltip=[
            alt.Tooltip("step:N", title=" "),
            alt.Tooltip("units:Q", title="Units", format="+,d"),
        ],
    )
    bars = base.mark_bar(size=34, cornerRadius=2).encode(
        y=alt.Y("start:Q", title="Units", axis=alt.Axis(format=",d")),
        y2="end:Q",
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(
                domain=["adds", "covers", "total"], range=["#f59e0b", "#64748b", ACCENT]
            ),
            legend=None,
        ),
    )
    text = base.mark_text(dy=-8, color="#334155").encode(y="top:Q", text=alt.Text("label:N"))
    return alt.layer(bars, text).properties(height=280)


def demand_days(frame: pd.DataFrame, mean: float) -> Layers:
    """Units ordered per ``day`` by ``kind`` (counted, earlier, empty), and the mean counted on."""
    import altair as alt

    base = alt.Chart(frame)
    tips = [_day_tip(), alt.Tooltip("units:Q", title="Units ordered", format=",d")]
    bars = base.mark_bar().encode(
        x=_days(),
        y=alt.Y("units:Q", title="Units ordered", axis=alt.Axis(tickMinStep=1, format=",d")),
        color=alt.Color(
            "kind:N",
            legend=None,
            scale=alt.Scale(
                domain=["counted", "earlier", "empty"], range=["#64748b", MUTED, "#fca5a5"]
            ),
        ),
        tooltip=tips,
    )
    rule = (
        alt.Chart(alt.Data(values=[{"mean": mean}]))
        .mark_rule(color=ACCENT, strokeWidth=2)
        .encode(y="mean:Q", tooltip=[alt.Tooltip("mean:Q", title="Mean, units/day", format=".2f")])
    )
    return alt.layer(bars, rule).properties(height=200)


def stage_bars(frame: pd.DataFrame) -> Layers:
    """Seconds per pipeline stage, in the order they ran."""
    return ranked_bars(frame, "stage", "seconds", "Seconds", form=",.1f")


def status_bars(frame: pd.DataFrame) -> alt.Chart:
    """Stacked bars of ``skus`` per ``warehouse``, by inventory ``status`` in order of concern."""
    import altair as alt

    order = ["Stocked out", "Low", "Healthy", "Excess", "Dead"]
    colours = [WARN, "#f59e0b", ACCENT, "#93c5fd", "#94a3b8"]
    return (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            y=alt.Y("warehouse:N", title=None, axis=alt.Axis(labelOverlap=False)),
            x=alt.X("sum(skus):Q", title="SKUs", axis=alt.Axis(tickCount=5, format=",d")),
            color=alt.Color(
                "status:N", title=None, scale=alt.Scale(domain=order, range=colours),
                legend=alt.Legend(orient="bottom", columns=3, symbolSize=80),
            ),
            order=alt.Order("place:Q"),
            tooltip=[
                alt.Tooltip("warehouse:N", title="Warehouse"),
                alt.Tooltip("status:N", title="Status"),
                alt.Tooltip("skus:Q", title="SKUs", format=",d"),
                alt.Tooltip("stock_value:Q", title="Stock value", format=",.2f"),
            ],
        )
        .properties(height=110 + 38 * frame["warehouse"].nunique())
    )  # fmt: skip
