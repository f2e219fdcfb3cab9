"""Registries: one line adds a case, and brings all laws of its kind."""
