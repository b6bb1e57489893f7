"""What is run from the repository and not installed: the demo's supervisor."""
