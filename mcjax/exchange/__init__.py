"""Reads and writes checkpoints of PyTorch and of other JAX programs.

`torch_files` and `mismatch` need no extra; the other modules need ``flax``.
"""
