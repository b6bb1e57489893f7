"""What the data is: which part is real, which is simulated, and how. Said here and nowhere else.

The numbers come from the demo loader's own assumptions, so that text and simulation cannot differ.
"""

from __future__ import annotations

from dashboards.lib.formats import day, percent
from dashboards.lib.snapshot import Snapshot
from oms_ops.demo import assumptions as assume
from oms_ops.demo import source

REAL = (
    "**Orders.** Every order is a basket of the Complete Journey data, a grocery chain's year: its"
    " goods, quantities, shelf prices and discounts. A line's net is the money the shop received.",
    "**Customers.** Each is a household of the data; names and e-mail addresses are made up.",
    "**Products.** Department, category, brand and pack size are those of the data. The default"
    f" load takes the last {source.WEEKS} weeks that fit and the {source.ASSORTMENT} most often"
    " bought goods; the full load takes every line.",
    "**Stores**, grouped into a few warehouses; the cities are made up.",
)
SIMULATED = (
    "**Calendar.** The history is moved by whole weeks, so that it ends yesterday and weekdays"
    " stay. Holidays move along: a day without sales is Christmas Day, when the stores were"
    " closed.",
    "**Unit cost**: 48 to 62 % of the list price. Discounts are real, so a deep one can push a"
    " margin below zero. **Suppliers**, their lead times of 2 to 9 days, minimum orders and packs.",
    f"**Opening stock, purchase orders and receipts.** {percent(assume.LATE, 0)} of the deliveries"
    f" come late, {percent(assume.SHORT, 0)} short; stock-outs and backorders follow from that.",
    f"**Payments, cancellations and returns.** {percent(assume.CANCELLED)} of the orders are"
    f" cancelled, {percent(assume.RETURNED, 0)} come back in part or whole.",
)


def text(snapshot: Snapshot) -> str:
    """Return the panel's Markdown for this snapshot."""
    real = "\n".join(f"- {line}" for line in REAL)
    simulated = "\n".join(f"- {line}" for line in SIMULATED)
    return (
        f"The demo shop trades on real baskets. This history runs from {day(snapshot.first_day)} to"
        f" {day(snapshot.business_date)}; amounts are in {snapshot.currency}, days are days in"
        f" {snapshot.timezone.replace('_', ' ')}.\n\n"
        f"##### Real\n{real}\n\n"
        "##### Simulated: with a fixed seed, day by day, through the same services that serve live"
        f" orders\n{simulated}\n\n"
        "Orders that you capture through the API are as real as you make them. A shop with a"
        " history of its own has nothing simulated in it."
    )
