"""`benison ui`: ROOT's index, reports and comparisons on loopback, read-only, with the progress of runs."""
