"""What every command does around its ``run(config)``: flags, errors, precision, quiet libraries."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax

from experiments import config as flags
from experiments.loop import Interrupted, RunFailed
from mcjax.data import cache

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def main(config: type, run: Callable[[Any], Any], doc: str) -> None:
    """Runs a command and exits.

    Exit status: 0 done; 1 a run failed; 2 wrong input; 75 stopped by SIGTERM, 130 by SIGINT, and
    the same command goes on.
    """
    _quiet()
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    try:
        chosen = flags.parse(config, sys.argv[1:], doc)
        if chosen.compilation_cache:
            _keep_compiled_programs()
        with jax.default_matmul_precision(PRECISIONS[chosen.precision]):
            run(chosen)
    except flags.UsageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except RunFailed as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(75 if error.signum == signal.SIGTERM else 130)
    except KeyboardInterrupt:
        print(f"{name}: stopped by SIGINT; the same command goes on", file=sys.stderr)
        sys.exit(130)


def _keep_compiled_programs():
    """Points JAX's persistent compilation cache at a folder of the user's, unless it has one."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = cache.default_dir().parent / "programs"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _quiet():
    """Keeps the libraries' log lines off the screen; errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("absl", "jax", "orbax", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="orbax|tensorflow_datasets|etils")
