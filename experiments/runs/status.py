"""The states of a run, and which may follow which."""

import enum


class Status(enum.StrEnum):
    """The state of a run, as ``run.json`` has it.

    A run that was interrupted is still ``RUNNING``: its command resumes it.
    """

    NEW = "new"
    """There is no run in the folder yet."""
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
    # A done run may be drawn again (done), or evaluated again: a curve is fitted until that ends.
    S.DONE: frozenset({S.DONE, S.RUNNING, S.FITTED}),
    # An import that failed may be repeated, with other data.
    S.FAILED: frozenset({S.RUNNING}),
}
"""The states that may follow each state."""
UNTRAINED = (Status.NEW, Status.RUNNING)
"""Something is left to train."""


def check(before: Status, after: Status) -> None:
    """Checks a transition.

    Raises:
      ValueError: it is not one of `TRANSITIONS`.
    """
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before]))
        raise ValueError(f"a run that is {before} cannot become {after}, only {allowed}")
