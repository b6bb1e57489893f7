"""One folder a stage: what it makes, what it checks, what it needs."""
