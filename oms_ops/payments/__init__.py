"""The payment ledger and the gateways it settles through."""
