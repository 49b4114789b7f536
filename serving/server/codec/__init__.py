"""Codecs: convert requests and answers between JSON, protos and numpy arrays by TF Serving's rules."""
