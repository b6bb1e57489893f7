"""Loads the baskets of a grocery chain through the write path, and simulates what it lacks."""
