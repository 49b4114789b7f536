"""Analysis of a user's code without importing it: references, and hashes for cache keys; `reads` watches it run."""
