"""Reconciliation with the ledger, and the snapshot that dashboards read."""
