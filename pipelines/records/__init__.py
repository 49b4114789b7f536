"""The records of runs in ROOT: `run.json`, locks, attempts, ML Metadata, and pruning."""
