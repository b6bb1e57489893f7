"""Which tables the feed carries, and which of their columns it must not carry."""

from __future__ import annotations

#: Every business table; an entity's name is its table's name.
ENTITIES = (
    "skus",
    "suppliers",
    "supplier_terms",
    "customers",
    "warehouses",
    "locations",
    "stock_levels",
    "stock_moves",
    "orders",
    "order_lines",
    "shipments",
    "shipment_lines",
    "payments",
    "payment_events",
    "refunds",
    "returns",
    "return_lines",
    "purchase_orders",
    "purchase_order_lines",
    "receipts",
    "receipt_lines",
    "reorder_approvals",
    "price_lists",
    "prices",
    "discounts",
    "discount_uses",
    "location_levels",
    "stock_alerts",
    "transfers",
    "transfer_lines",
    "stock_counts",
    "stock_count_lines",
    "pick_waves",
    "picks",
    "parcels",
    "payment_operations",
    "balances",
    "balance_entries",
    "shipment_labels",
    "refund_items",
    "tickets",
    "ticket_messages",
    "feedback",
)

#: What stays in the database: what opens something to whoever holds it (a customer's page, a gift
#: card, a payment that waits for the customer), a label's file, with a name and an address, and
#: what customers wrote and where they are answered: nobody counts words.
SECRET_COLUMNS = {
    "orders": frozenset({"tracking_token"}),
    "balances": frozenset({"code_hash"}),
    "payment_operations": frozenset({"token", "action", "return_url"}),
    "shipment_labels": frozenset({"body"}),
    "tickets": frozenset({"email", "subject"}),
    "ticket_messages": frozenset({"body"}),
    "feedback": frozenset({"comment"}),
}

#: Ledgers: a row is written once, and the database refuses to change or delete it.
LEDGERS = ("stock_moves", "payment_events", "balance_entries", "shop_rules", "ticket_messages")
