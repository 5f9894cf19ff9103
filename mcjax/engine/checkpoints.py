"""Checkpoints with orbax, which only this module uses.

A checkpoint is a pytree of arrays saved under the number of steps done. Steps in ``keep`` are never
deleted; of the others only the latest two are kept, to resume from. Saving is asynchronous:
`Checkpoints.save` copies the tree and returns; reading and closing wait. A checksum of all bytes,
computed on the device, is saved with the tree and verified when the tree is restored.

>>> import tempfile
>>> with (tempfile.TemporaryDirectory() as folder,
...       Checkpoints(Path(folder) / "run") as checkpoints):
...     checkpoints.save(10, {"w": jnp.ones(2)})
...     try:
...         checkpoints.restore(10, like={"w": jnp.ones(3)})
...     except Damaged as error:
...         print(error)
/.../run/10 cannot be read: its structure or shapes differ from the expected ones
"""

import contextlib
import errno
import importlib
import logging
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import extras, paths
from mcjax.engine.bucket_checkpoints import BucketManager
from mcjax.paths import AnyPath
from mcjax.typing import Array, Integer, PyTree

extras.require(__name__, "orbax")
if TYPE_CHECKING:
    import orbax.checkpoint as ocp
else:

    class _Orbax:
        """orbax.checkpoint, imported on first use, which takes a while."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("orbax.checkpoint"), name)

    ocp = _Orbax()


class Damaged(ValueError):
    """A checkpoint cannot be read, or its contents differ from what was saved."""


class Checkpoints(contextlib.AbstractContextManager["Checkpoints", None]):
    """The checkpoints of one run folder.

    Args:
      folder: created when the first checkpoint is saved.
      keep: steps that are never deleted; include the last step.
      read_only: creates nothing; a missing folder holds no checkpoints.

    >>> import tempfile
    >>> with (tempfile.TemporaryDirectory() as folder,
    ...       Checkpoints(Path(folder) / "run", keep=[10]) as checkpoints):
    ...     for step in (10, 20, 30, 40):
    ...         checkpoints.save(step, {"w": jnp.ones(2)})
    ...     checkpoints.wait()
    ...     checkpoints.steps()
    [10, 30, 40]
    """

    def __init__(self, folder: AnyPath, keep: Iterable[int] = (), read_only: bool = False) -> None:
        policies = ocp.checkpoint_managers
        policy = policies.AnyPreservationPolicy(
            [policies.LatestN(2), policies.CustomSteps(sorted(set(keep)))]
        )
        self._folder = folder
        self._manager: Any = None
        if paths.is_url(folder):
            self._manager = BucketManager(ocp, folder, {*keep})
        elif folder.exists() or not read_only:
            with _without_warnings():
                self._manager = ocp.CheckpointManager(
                    folder.absolute(),
                    item_handlers=ocp.StandardCheckpointHandler(),
                    options=ocp.CheckpointManagerOptions(
                        preservation_policy=policy,
                        save_decision_policy=ocp.checkpoint_managers.FixedIntervalPolicy(1),
                        create=not read_only,
                        read_only=read_only,
                    ),
                )

    def steps(self) -> list[int]:
        """Steps that can be restored, in increasing order.

        >>> Checkpoints(Path("runs/new"), read_only=True).steps()
        []
        """
        return [] if self._manager is None else sorted(self._manager.all_steps())

    def save(self, step: int, tree: PyTree) -> None:
        """Saves a copy of ``tree``; does nothing if the step is already saved.

        Args:
          step: steps done.
          tree: arrays.

        Raises:
          OSError: a write failed, perhaps of an earlier step.

        >>> import tempfile
        >>> with (tempfile.TemporaryDirectory() as folder,
        ...       Checkpoints(Path(folder) / "run", keep=[10, 20]) as checkpoints):
        ...     checkpoints.save(10, {"w": jnp.ones(2)})
        ...     checkpoints.steps()
        [10]
        """
        if step not in self._manager.all_steps():
            with self._writing():
                self._manager.save(step, args=ocp.args.StandardSave(_sealed(tree)))

    def wait(self) -> None:
        """Waits until everything saved is on disk.

        Raises:
          OSError: a write failed, now or when an earlier step was saved.

        >>> import tempfile
        >>> with (tempfile.TemporaryDirectory() as folder,
        ...       Checkpoints(Path(folder) / "run", keep=[10, 20]) as checkpoints):
        ...     checkpoints.save(10, {"w": jnp.ones(2)})
        ...     checkpoints.wait()
        ...     (Path(folder) / "run" / "10").exists()
        True
        """
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:  # tensorstore raises ValueError on a full disk, for example
            why = " ".join(str(error).split())
            raise OSError(
                errno.EIO, f"no checkpoint: ...{why[-200:]}", str(self._folder)
            ) from error

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, once everything is on disk.

        Raises:
          OSError: a write failed.

        >>> import tempfile
        >>> with (tempfile.TemporaryDirectory() as folder,
        ...       Checkpoints(Path(folder) / "run", keep=[10, 20]) as checkpoints):
        ...     checkpoints.save(10, {"w": jnp.ones(2)})
        ...     checkpoints.save(20, {"w": jnp.ones(2)})
        ...     checkpoints.drop_after(10)
        ...     checkpoints.steps()
        [10]
        """
        self.keep_only([saved for saved in self.steps() if saved <= step])

    def keep_only(self, steps: Collection[int]) -> None:
        """Deletes the checkpoints of all other steps, once everything is on disk.

        Raises:
          OSError: a write failed.

        >>> import tempfile
        >>> with (tempfile.TemporaryDirectory() as folder,
        ...       Checkpoints(Path(folder) / "run", keep=[10, 20]) as checkpoints):
        ...     checkpoints.save(10, {"w": jnp.ones(2)})
        ...     checkpoints.save(20, {"w": jnp.ones(2)})
        ...     checkpoints.keep_only([20])
        ...     checkpoints.steps()
        [20]
        """
        self.wait()
        for step in self.steps():
            if step not in steps:
                self._manager.delete(step)

    def restore(self, step: int, like: PyTree = None) -> PyTree:
        """Restores a step, bit for bit.

        Args:
          step: one of `steps`.
          like: a pytree of jax arrays that determines containers and placement; by default nested
            dicts and lists of arrays on this process's first device.

        Raises:
          Damaged: the checkpoint differs from what was saved, or from the structure of ``like``;
            or there is none of this step.
          OSError: a bucket cannot be read.

        >>> import tempfile
        >>> with (tempfile.TemporaryDirectory() as folder,
        ...       Checkpoints(Path(folder) / "run", keep=[10, 20]) as checkpoints):
        ...     checkpoints.save(10, {"w": jnp.ones(2)})
        ...     checkpoints.restore(10, like={"w": jnp.zeros(2)})
        {'w': Array([1., 1.], dtype=float32)}
        """
        self.wait()
        if isinstance(self._manager, BucketManager):
            self._manager.fetch(step)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shape = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
        try:
            saved = self._manager.item_metadata(step).tree
            if like is None:  # shapes only: the devices that saved it may not exist here
                abstract = jax.tree.map(lambda x: shape(x, here), saved)
            else:
                if _shapes(like) != _shapes(saved["tree"]):
                    raise ValueError("its structure or shapes differ from the expected ones")
                tree = jax.tree.map(lambda x: shape(x, x.sharding), like)
                seal = jax.ShapeDtypeStruct((), jnp.uint32, sharding=here)
                abstract = {"tree": tree, "seal": seal}
            found = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
            tree, seal = found["tree"], int(found["seal"])
        except jax.errors.JaxRuntimeError:
            raise
        except Exception as error:  # errors of orbax and its dependencies have no common class
            why = " ".join(str(error).split())[:300]
            raise Damaged(f"{self._folder / str(step)} cannot be read: {why}") from error
        if seal != int(_seal(tree)):
            raise Damaged(f"{self._folder / str(step)} is damaged: its checksum differs")
        return tree

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._manager is None:
            return
        try:
            self.wait()
        except OSError:
            if kind is None:
                raise
        finally:
            with contextlib.suppress(Exception):  # failed writes were reported by `wait`
                self._manager.close()


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences orbax's warning that a read-only folder cannot be written."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(before)


def _shapes(tree: PyTree) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and dtype of every leaf by name; names are the same for dicts and tuples."""
    return {_name(path): (x.shape, x.dtype) for path, x in _leaves(tree)}


_leaves = jax.tree_util.tree_leaves_with_path


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _sealed(tree: PyTree) -> dict[str, PyTree]:
    """Copies the tree and adds its checksum."""
    copy = _copied(tree)
    return {"tree": copy, "seal": _seal(copy)}


@jax.jit
def _copied(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)


def _seal(tree: PyTree) -> Integer[Array, ""]:
    """A checksum of all bytes: a sum modulo 2^32 with a different odd weight at each position.

    An odd number has an inverse modulo 2^32, so any change to one byte changes the sum. One small
    program per shape compiles in a tenth of the time of one for the whole tree.
    """
    leaves = [(path, _local(leaf)) for path, leaf in _leaves(tree)]
    odd = np.array([zlib.crc32(_name(path).encode()) | 1 for path, _ in leaves], np.uint32)
    return _weighted_sum([_leaf_sum(leaf) for _, leaf in leaves], odd)


def _local(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """A replicated leaf on its first device, so that saving and reading share their programs.

    With several processes, orbax saves only what lies on all of them, the checksum included.
    """
    if isinstance(leaf, jax.Array) and jax.process_count() == 1 and leaf.is_fully_replicated:
        return leaf.addressable_data(0)
    return leaf


@jax.jit
def _leaf_sum(leaf: Array) -> Integer[Array, ""]:
    leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
    each = jax.lax.bitcast_convert_type(leaf, jnp.uint8).ravel().astype(jnp.uint32)
    weights = (2 * jax.lax.iota(jnp.uint32, each.size) + 1) * jnp.uint32(0x9E3779B1)
    return jnp.sum(each * weights, dtype=jnp.uint32)


@jax.jit
def _weighted_sum(
    sums: Sequence[Integer[Array, ""]], odd: Integer[Array, " leaves"]
) -> Integer[Array, ""]:
    return jnp.sum(jnp.array(sums, jnp.uint32) * odd, dtype=jnp.uint32)


def read_tree(folder: Path) -> PyTree:
    """Reads any orbax checkpoint as numpy arrays in nested dicts and lists.

    Args:
      folder: a checkpoint, a step that contains one, or a manager's folder, whose last step is
        read.

    Raises:
      ValueError: ``folder`` contains no checkpoint or several, or the checkpoint cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Checkpoints(Path(folder) / "run", keep=[10]) as checkpoints:
    ...         checkpoints.save(10, {"w": jnp.ones(2)})
    ...     read_tree(Path(folder) / "run")["tree"]
    {'w': array([1., 1.], dtype=float32)}
    """
    found = _find(folder)
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            tree: Any = checkpointer.metadata(found).item_metadata.tree
            arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return checkpointer.restore(found, args=ocp.args.PyTreeRestore(restore_args=arrays))
    except Exception as error:  # errors of orbax and its dependencies have no common class
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"{found} cannot be read by orbax: {why}") from error


def _find(folder: Path) -> Path:
    """Finds the folder with the arrays, which is ``folder`` or one below it."""
    if (folder / "_METADATA").is_file():
        return folder.absolute()
    steps = sorted((p for p in folder.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    if steps:
        return _find(steps[-1])
    inside = [p.parent for p in folder.glob("*/_METADATA")]
    if not inside:
        raise ValueError(f"{folder} contains no orbax checkpoint")
    if len(inside) > 1:
        names = ", ".join(p.name for p in inside)
        raise ValueError(f"{folder} contains several orbax checkpoints, name one of them: {names}")
    return inside[0].absolute()
