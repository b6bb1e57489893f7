"""What ``python -m dashboards`` serves: the pages, and the frame around them.

The pages are in ``app_pages/``, not ``pages/``: Streamlit runs a file of a folder of that name by
itself when a link to it is the first request after a start, without this frame around it.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards.lib import header, snapshot

st.set_page_config(page_title="Shop", page_icon=Path(__file__).with_name("icon.svg"), layout="wide")

page = st.navigation(
    [
        st.Page(
            "app_pages/overview.py", title="Overview", icon=":material/dashboard:", default=True,
            help="How the shop does: key figures against the period before, and what needs a hand.",
        ),
        st.Page(
            "app_pages/sales.py", title="Sales", icon=":material/trending_up:",
            help="Net sales by day, category and SKU, returns, and the order lines behind them.",
        ),
        st.Page(
            "app_pages/inventory.py", title="Inventory", icon=":material/inventory_2:",
            help="Stock on hand, cover, stock-outs and value per SKU and warehouse.",
        ),
        st.Page(
            "app_pages/customers.py", title="Customers", icon=":material/groups:",
            help="Customer segments by recency, frequency and value, down to single orders.",
        ),
        st.Page(
            "app_pages/service.py", title="Service", icon=":material/local_shipping:",
            help="Fill rates, on time in full, payments, tickets and ratings, and suppliers.",
        ),
        st.Page(
            "app_pages/reorder.py", title="Reorder", icon=":material/shopping_cart_checkout:",
            help="What to order and why; edit, approve, and get purchase orders.",
        ),
        st.Page(
            "app_pages/health.py", title="Pipeline health", icon=":material/monitor_heart:",
            help="Last run, freshness, checks, reconciliation and stage timings.",
        ),
    ],
    position="top",
)  # fmt: skip

published, run = snapshot.current(), snapshot.last_run()
if published is None:
    header.nothing_published(run)
else:
    # One snapshot per run of the script: a swap while the page draws must not mix two pictures.
    st.session_state["snapshot"] = published
    st.session_state["last_run"] = run
    st.title(page.title)
    header.draw(published, run)
    page.run()
