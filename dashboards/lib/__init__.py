"""What every page shares: the snapshot reader, filters, charts, tables, wording and actions."""
