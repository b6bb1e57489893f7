"""Change feed to lake: what was committed lands as Parquet, once."""
