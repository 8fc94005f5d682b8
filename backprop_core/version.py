"""The version of the product; pyproject.toml reads it from here."""

__version__ = "1.0.0"
