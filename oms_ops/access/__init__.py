"""API keys, roles, and the actor on every change."""

from oms_ops.access.actor import Actor

__all__ = ["Actor"]
