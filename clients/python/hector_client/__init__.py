"""The Python client of Hector, an agent server."""

__version__ = "0.1.0"
