"""The errors that end a command with one line for the user; `command.main` maps them to exits."""

import signal


class UsageError(ValueError):
    """Wrong input: one line for the user, exit status 2."""


class RunFailed(RuntimeError):
    """A mode or curve did not train."""


class Interrupted(RuntimeError):
    """SIGTERM or SIGINT came; the state is saved, and the same command resumes."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on")
        self.signum = signum


class Missing(RuntimeError):
    """Not all processes of a launch have joined."""
