"""Checkpoints by orbax; nothing else in the project knows of it.

A checkpoint is a pytree of arrays saved under the number of steps done. Kept steps stay for good;
beside them only the latest two stay, to go on from. Saving is asynchronous: `Checkpoints.save`
copies what it is given and returns; reading and closing wait.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

_copied = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))


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
        self._manager: Any = None
        if folder.exists() or not read_only:
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
            self._manager.save(step, args=ocp.args.StandardSave(_copied(tree)))

    def wait(self) -> None:
        """Returns when all that was saved is on disk."""
        self._manager.wait_until_finished()

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def restore(self, step: int, like: Any = None) -> Any:
        """Restores a step, bit for bit.

        Args:
          step: one of `steps`.
          like: a pytree of arrays that says containers and placement; without it, nested dicts
            and lists of arrays on this process's first device.
        """
        self.wait()
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shape = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
        if like is None:  # shapes alone: the devices that saved it need not be there
            saved = self._manager.item_metadata(step).tree
            abstract = jax.tree.map(lambda x: shape(x, here), saved)
        else:
            abstract = jax.tree.map(lambda x: shape(x, x.sharding), like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def __exit__(self, *_):
        if self._manager is not None:
            self.wait()
            self._manager.close()
