"""Dividing work among cores: parts of a batch, leaves of a tree, recurrent layers."""
