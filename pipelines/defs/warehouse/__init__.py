"""Lake to marts: the dbt models and their tests, as assets and checks."""
