"""Warehouses, locations, the double-entry move ledger, and the levels it adds up to."""
