"""Progress, reports and tables for people."""
