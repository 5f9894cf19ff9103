"""Checkpoints of other programs: PyTorch's and other JAX code's, read and written."""

import importlib

from mcjax import extras

with extras.needed_by(__name__):
    importlib.import_module("flax")
