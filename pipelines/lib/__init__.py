"""What the stages do, as functions that know nothing of Dagster and are tested alone."""
