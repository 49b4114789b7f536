"""Flights from New York in 2013: which will arrive late, from what is known before departure."""
