"""How numbers are moved and added up: whole rows, in blocks, a channel at a time."""
