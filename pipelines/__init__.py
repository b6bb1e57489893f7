"""The Dagster code location: change feed, lake, warehouse, checks, decisions, snapshot."""
