"""What knows Flax: the classifier objective, the paper's networks and their layers."""

import importlib

from mcjax import extras

with extras.needed_by(__name__):
    importlib.import_module("flax")
