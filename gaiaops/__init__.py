"""gaiaops: the operations CLI for the Gaia Platform's databases."""

__version__ = "0.1.0"
