"""A persistent, load-balanced task queue for Python on Redis."""

__version__ = "0.1.0.dev0"
