"""Everything that depends on Flax: the classifier objective, the networks, their layers."""

import importlib

from mcjax import extras

with extras.needed_by(__name__):
    importlib.import_module("flax")
