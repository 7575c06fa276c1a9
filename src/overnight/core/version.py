"""The version of overnight."""

__version__ = "0.1.0"
