"""Batching: requests for one version wait in queues, share runs, and take the fastest route with the same answers."""
