"""Fast CPU implementations of the operations in `lucid_fn.ops`.

`wing` is the table of them. Only `lucid_fn.ops.seam` imports it; GPUs need none of it.
"""
