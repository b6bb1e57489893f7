"""Goods that come back: asked for, approved, received, inspected, and what the customer gets."""
