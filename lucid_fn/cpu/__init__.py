"""How the operations of `lucid_fn.ops` are done fast on CPUs.

`wing` lists all of it. Nothing but `lucid_fn.ops.seam` asks for it, and whoever only
computes on GPUs can skip this folder, or leave it out.
"""
