"""The reorder decision on the marts."""
