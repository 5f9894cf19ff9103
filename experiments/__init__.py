"""The commands of mcjax: flags, run folders, progress and figures."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before jax is imported, which sets a lower one
