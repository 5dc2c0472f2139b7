"""Checkpoints: locating, fetching, reading, converting and checking them."""
