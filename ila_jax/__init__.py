"""Information Landscape Approximation: choose instruction-tuning data."""

__version__ = "0.1.0"
