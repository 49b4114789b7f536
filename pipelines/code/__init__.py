"""References to a user's code and hashes of it, without importing it; and the record of what it reads when it runs."""
