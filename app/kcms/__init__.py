"""KCMS: several Linux clusters as one system."""

__version__ = "0.1.0"
