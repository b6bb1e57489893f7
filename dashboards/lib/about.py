"""What the data is: which part is real, which is simulated, and how. Said here and nowhere else."""

from __future__ import annotations

from dashboards.lib.formats import day
from dashboards.lib.snapshot import Snapshot

REAL = (
    "**Orders.** Every order is a basket of the Complete Journey data: its products, quantities,"
    " prices, discounts, household and time of day.",
    "**Customers.** Each is a household of the data; names and e-mail addresses are made up.",
    "**Products.** Department, category, brand and pack size are those of the data.",
    "**Warehouses.** The data's stores, grouped into a few warehouses.",
)
SIMULATED = (
    "**Calendar.** The history is moved by whole weeks so that it ends yesterday; weekdays are"
    " kept.",
    "**Unit cost**, and so every margin and stock value.",
    "**Suppliers**, their lead times, minimum orders and packs.",
    "**Opening stock, purchase orders and receipts**, late ones among them; from these follow"
    " stock-outs and backorders.",
    "**Payments, cancellations and returns.** The method and moment of payment, and which orders"
    " were cancelled or came back.",
)


def text(snapshot: Snapshot) -> str:
    """Return the panel's Markdown for this snapshot."""
    real = "\n".join(f"- {line}" for line in REAL)
    simulated = "\n".join(f"- {line}" for line in SIMULATED)
    return (
        f"This shop trades on real baskets. Its history runs from {day(snapshot.first_day)} to"
        f" {day(snapshot.business_date)}; amounts are in {snapshot.currency}, days are days in"
        f" {snapshot.timezone.replace('_', ' ')}.\n\n"
        f"##### Real, from the Complete Journey data\n{real}\n\n"
        "##### Simulated, with a fixed seed, day by day through the same services that serve live"
        f" orders\n{simulated}\n\n"
        "Orders that you capture through the API are as real as you make them. If you load your own"
        " history instead of the demo, nothing here is simulated."
    )
