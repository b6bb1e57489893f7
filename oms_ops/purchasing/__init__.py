"""Purchase orders, receipts, and the approvals of reorder lines."""
