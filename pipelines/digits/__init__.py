"""Handwritten digits as 8x8 pictures: data that are no table."""
