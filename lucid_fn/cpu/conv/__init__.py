"""Formulations of convolution for CPUs; `choose` says which one runs."""
