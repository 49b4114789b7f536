"""Example: classify handwritten digits from 8x8 pictures."""
