"""dprune: make an image-classification data set smaller without making its model worse or less fair."""

__version__ = "0.1.0"
