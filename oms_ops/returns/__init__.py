"""Goods that come back: receipt, disposition, refund."""
