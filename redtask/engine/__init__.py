"""Engines run tasks; a worker is the supervisor of the engines of one machine."""
