"""Training steps of this library and its peers, timed in turns: `make bench`."""
