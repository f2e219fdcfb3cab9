"""The layer contract, combinators, wrappers of layers, and summaries."""
