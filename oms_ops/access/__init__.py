"""API keys, roles, and the actor on every change."""
