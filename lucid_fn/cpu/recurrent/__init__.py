"""Formulations of recurrences for CPUs."""
