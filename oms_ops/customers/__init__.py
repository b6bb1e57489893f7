"""Customers, known and guests."""
