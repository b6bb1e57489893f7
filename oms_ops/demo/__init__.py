"""Loads a year of a real grocery chain through the write path, and simulates what it lacks."""
