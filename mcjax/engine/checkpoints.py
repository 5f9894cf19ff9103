"""Checkpoints by orbax; nothing else in the project knows of it.

A checkpoint is a pytree of arrays saved under the number of steps done. Kept steps stay for good;
beside them only the latest two stay, to go on from. Saving is asynchronous: `Checkpoints.save`
copies what it is given and returns; reading and closing wait. Beside the tree a checksum of all its
bytes is saved, computed on the device, and compared when it is read.
"""

import contextlib
import errno
import logging
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import extras

with extras.needed_by(__name__):
    import orbax.checkpoint as ocp
    from orbax.checkpoint import checkpoint_managers as policies


class Damaged(ValueError):
    """A checkpoint that cannot be read, or does not hold what was saved."""


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one run folder.

    Args:
      folder: made when the first checkpoint is saved.
      keep: steps that are kept for good; the last step belongs among them.
      read_only: nothing is created; a folder that is not there holds no checkpoint.
    """

    def __init__(self, folder: Path, keep: Iterable[int] = (), read_only: bool = False):
        policy = policies.AnyPreservationPolicy(
            [policies.LatestN(2), policies.CustomSteps(sorted(set(keep)))]
        )
        self._folder = folder
        self._manager: Any = None
        if folder.exists() or not read_only:
            with _without_warnings():
                self._manager = ocp.CheckpointManager(
                    folder.absolute(),
                    item_handlers=ocp.StandardCheckpointHandler(),
                    options=ocp.CheckpointManagerOptions(
                        preservation_policy=policy,
                        save_decision_policy=policies.FixedIntervalPolicy(1),
                        create=not read_only,
                        read_only=read_only,
                    ),
                )

    def steps(self) -> list[int]:
        """Steps that can be restored, in rising order."""
        return [] if self._manager is None else sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any) -> None:
        """Saves a copy of ``tree``; a step that is there already is left as it is."""
        if step not in self._manager.all_steps():
            with self._writing():
                self._manager.save(step, args=ocp.args.StandardSave(_sealed(tree)))

    def wait(self) -> None:
        """Returns when all that was saved is on disk.

        Raises:
          OSError: it could not be written, now or when an earlier step was saved.
        """
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:  # a full disk is a ValueError of tensorstore's, for one
            why = " ".join(str(error).split())
            raise OSError(
                errno.EIO, f"no checkpoint: ...{why[-200:]}", str(self._folder)
            ) from error

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def keep_only(self, steps: Collection[int]) -> None:
        """Deletes the checkpoints of all other steps, once everything is on disk."""
        self.wait()
        for step in self.steps():
            if step not in steps:
                self._manager.delete(step)

    def restore(self, step: int, like: Any = None) -> Any:
        """Restores a step, bit for bit.

        Args:
          step: one of `steps`.
          like: a pytree of arrays that says containers and placement; without it, nested dicts
            and lists of arrays on this process's first device.

        Raises:
          Damaged: it is not what was saved, or not of the structure of ``like``.
        """
        self.wait()
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shape = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
        try:
            saved = self._manager.item_metadata(step).tree
            if like is None:  # shapes alone: the devices that saved it need not be there
                abstract = jax.tree.map(lambda x: shape(x, here), saved)
            else:
                if _shapes(like) != _shapes(saved["tree"]):
                    raise ValueError("it is of another structure or of other shapes")
                tree = jax.tree.map(lambda x: shape(x, x.sharding), like)
                seal = jax.ShapeDtypeStruct((), jnp.uint32, sharding=here)
                abstract = {"tree": tree, "seal": seal}
            found = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            tree, seal = found["tree"], int(found["seal"])
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:  # what orbax and what is below it raise has no common class
            why = " ".join(str(error).split())[:300]
            raise Damaged(f"{self._folder / str(step)} cannot be read: {why}") from error
        if seal != int(_seal(tree)):
            raise Damaged(f"{self._folder / str(step)} is damaged: its checksum differs")
        return tree

    def __exit__(self, kind, *_):
        if self._manager is None:
            return
        try:
            self.wait()
        except OSError:
            if kind is None:
                raise
        finally:
            with contextlib.suppress(Exception):  # what it could not write has been said
                self._manager.close()


@contextlib.contextmanager
def _without_warnings():
    """Keeps orbax from warning that what is opened to be read cannot be written."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(before)


def _shapes(tree):
    """Shape and type of every leaf by its name, which is the same in dict and tuple."""
    return {_name(path): (x.shape, x.dtype) for path, x in _leaves(tree)}


_leaves = jax.tree_util.tree_leaves_with_path


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


@jax.jit
def _sealed(tree):
    """A copy of the tree with its checksum."""
    copy = jax.tree.map(jnp.copy, tree)
    return {"tree": copy, "seal": _seal(copy)}


@jax.jit
def _seal(tree):
    """A checksum of all bytes: a sum modulo 2^32 in which each place has an odd weight of its own.

    An odd number has an inverse modulo 2^32, so whatever happens to one byte changes the sum.
    """
    total = jnp.uint32(0)
    for path, leaf in _leaves(tree):
        leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        each = jax.lax.bitcast_convert_type(leaf, jnp.uint8).ravel().astype(jnp.uint32)
        weights = (2 * jax.lax.iota(jnp.uint32, each.size) + 1) * jnp.uint32(0x9E3779B1)
        odd = jnp.uint32(zlib.crc32(_name(path).encode()) | 1)
        total += odd * jnp.sum(each * weights, dtype=jnp.uint32)
    return total


def read_tree(folder: Path) -> Any:
    """The tree of any checkpoint of orbax's, numpy arrays in nested dicts and lists.

    Args:
      folder: of the checkpoint, of a step that holds one, or of a manager, whose last step is read.

    Raises:
      ValueError: there is none, there are several, or it cannot be read.
    """
    found = _find(folder)
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            tree: Any = checkpointer.metadata(found).item_metadata.tree
            arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return checkpointer.restore(found, args=ocp.args.PyTreeRestore(restore_args=arrays))
    except Exception as error:  # what orbax and what is below it raise has no common class
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"{found} cannot be read by orbax: {why}") from error


def _find(folder):
    """The folder with the arrays, in this one or below it."""
    if (folder / "_METADATA").is_file():
        return folder.absolute()
    steps = sorted((p for p in folder.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    if steps:
        return _find(steps[-1])
    inside = [p.parent for p in folder.glob("*/_METADATA")]
    if len(inside) != 1:
        several = f", but {', '.join(p.name for p in inside)}: name one of them" if inside else ""
        raise ValueError(f"{folder} holds no checkpoint of orbax's{several}")
    return inside[0].absolute()
