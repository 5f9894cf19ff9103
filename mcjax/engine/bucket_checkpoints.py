"""Checkpoints at a bucket: orbax reads and writes local folders, whose files are copied.

A checkpoint counts once ``commit_success.txt`` is there, which is written last and deleted first;
orbax's own checkpoints on Google Cloud Storage have it, too. Each of several processes reads for
itself; the first one writes.
"""

import concurrent.futures
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mcjax import paths
from mcjax.engine import parallel
from mcjax.paths import AnyPath

COMMITTED = "commit_success.txt"
"""The last file of a checkpoint."""


class BucketManager:
    """What `mcjax.engine.checkpoints` needs of orbax's manager, for a folder at a bucket.

    Args:
      orbax: the package ``orbax.checkpoint``.
      folder: at a bucket.
      keep: steps that are never deleted; of the others the latest two are kept.
    """

    def __init__(self, orbax: Any, folder: AnyPath, keep: Collection[int]) -> None:
        self._orbax, self._folder, self._keep = orbax, folder, frozenset(keep)
        self._local = tempfile.TemporaryDirectory(prefix="mcjax-checkpoints-")
        self._uploads = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: list[concurrent.futures.Future[None]] = []
        files = [file for file in folder.rglob(COMMITTED) if file.parent.parent == folder]
        self._steps = {int(file.parent.name) for file in files}

    def all_steps(self) -> list[int]:
        """The steps of the checkpoints."""
        return list(self._steps)

    def save(self, step: int, args: Any) -> None:
        """Saves a checkpoint; it is copied to the bucket in the background.

        Raises:
          OSError: an earlier one could not be copied.
        """
        for upload in [one for one in self._pending if one.done()]:
            self._pending.remove(upload)
            upload.result()
        tree = jax.tree.map(_here, args.item)
        self._steps.add(step)
        latest = {step, *sorted(self._steps)[-2:]}
        old = self._steps - self._keep - latest
        self._steps -= old
        if parallel.is_first():
            place = Path(self._local.name) / f"save-{step}"
            with self._open(place) as manager:
                manager.save(step, args=self._orbax.args.StandardSave(tree))
            self._pending.append(self._uploads.submit(self._upload, place, step, old))

    def _upload(self, place: Path, step: int, old: Collection[int]) -> None:
        """Copies a checkpoint, then deletes those that it makes dispensable."""
        self._remove(step)  # what an interrupted upload left
        (place / str(step) / COMMITTED).unlink(missing_ok=True)  # orbax's own
        paths.copy(place / str(step), self._folder / str(step))
        (self._folder / str(step) / COMMITTED).write_bytes(b"Checkpoint commit was successful.")
        for one in old:
            self._remove(one)

    def _remove(self, step: int) -> None:
        (self._folder / str(step) / COMMITTED).unlink(missing_ok=True)
        paths.remove_tree(self._folder / str(step))

    def wait_until_finished(self) -> None:
        """Waits until all checkpoints are at the bucket.

        Raises:
          OSError: one could not be copied.
        """
        for upload in list(self._pending):
            self._pending.remove(upload)
            upload.result()
        parallel.wait_for_all(f"written {self._folder}")

    def delete(self, step: int) -> None:
        """Deletes a checkpoint."""
        self._steps.discard(step)
        if parallel.is_first():
            self._remove(step)

    def item_metadata(self, step: int) -> Any:
        """What orbax's manager returns: the tree with shapes and dtypes."""
        with self._open(self.fetch(step)) as manager:
            return manager.item_metadata(step)

    def restore(self, step: int, args: Any) -> Any:
        """Restores a checkpoint."""
        with self._open(self.fetch(step)) as manager:
            return manager.restore(step, args=args)

    def fetch(self, step: int) -> Path:
        """Copies a checkpoint from the bucket, unless it is here; returns its manager's folder.

        Raises:
          OSError: the bucket cannot be read.
        """
        place = Path(self._local.name) / f"restore-{step}"
        if not place.exists():
            paths.copy(self._folder / str(step), place / str(step))
        return place

    def _open(self, place: Path) -> Any:
        """The manager of a local folder that no other process uses."""
        index = jax.process_index()
        alone = self._orbax.options.MultiprocessingOptions(
            primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
        )
        place.mkdir(parents=True, exist_ok=True)
        return self._orbax.CheckpointManager(
            place,
            item_handlers=self._orbax.StandardCheckpointHandler(multiprocessing_options=alone),
            options=self._orbax.CheckpointManagerOptions(
                create=False, multiprocessing_options=alone, enable_async_checkpointing=False
            ),
        )

    def close(self) -> None:
        """Deletes the local copies."""
        self._uploads.shutdown()
        self._local.cleanup()


def _here(x: Any) -> np.ndarray:
    """The value of an array that every device has."""
    return np.asarray(x.addressable_data(0))
