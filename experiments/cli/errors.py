"""Errors that end a command with one line for the user; `command.main` sets the exit status."""

import signal


class UsageError(ValueError):
    """Wrong input: one line for the user, exit status 2."""


class RunFailed(RuntimeError):
    """A mode or curve did not train: exit status 1."""


class Interrupted(RuntimeError):
    """SIGTERM or SIGINT arrived; the state is saved, and the same command resumes."""

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}; run the same command to resume")
        self.signum = signum


class Missing(RuntimeError):
    """Some processes of a launch did not join: exit status 1."""
