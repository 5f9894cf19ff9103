"""The status of a run, and its transitions."""

import enum


class Status(enum.StrEnum):
    """The status of a run, as ``run.json`` records it.

    An interrupted run is still ``RUNNING``; its command resumes it.
    """

    NEW = "new"
    """The folder holds no run yet."""
    RUNNING = "running"
    FITTED = "fitted"
    """A curve that is trained but not yet evaluated."""
    DONE = "done"
    FAILED = "failed"


S = Status
TRANSITIONS: dict[Status, frozenset[Status]] = {
    S.NEW: frozenset({S.RUNNING}),
    S.RUNNING: frozenset({S.FITTED, S.DONE, S.FAILED}),
    S.FITTED: frozenset({S.DONE, S.FAILED}),
    # Redrawing leaves a run done; reevaluating makes a curve fitted, and other runs running.
    S.DONE: frozenset({S.DONE, S.RUNNING, S.FITTED}),
    # A failed import may be repeated, with other data.
    S.FAILED: frozenset({S.RUNNING}),
}
"""The allowed next values of each status."""
UNTRAINED = (Status.NEW, Status.RUNNING)
"""Statuses of a run whose training is not finished."""


def check(before: Status, after: Status) -> None:
    """Checks a transition.

    Raises:
      ValueError: it is not one of `TRANSITIONS`.
    """
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise ValueError(f"a run that is {before} cannot become {after}, only {allowed}")
