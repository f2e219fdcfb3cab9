"""Dividing work among the cores: streams, divided batches, leaves of a tree."""
