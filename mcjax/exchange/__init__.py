"""Checkpoints of other programs: PyTorch's and other JAX code's, read and written."""
