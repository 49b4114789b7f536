"""The processes that run nodes: workers, scheduled runs, their answers, logs and signals."""
