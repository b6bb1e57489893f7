"""The SQL of each page over the published marts; nothing here draws."""
