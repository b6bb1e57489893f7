"""Carriers: labels are booked with them, and they tell what became of parcels.

A new kind of carrier is one file beside these, and one line in ``registry.py``.
"""
