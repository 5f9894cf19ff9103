"""What is said of a name that is none of those that there are."""

import difflib
from collections.abc import Collection


def hint(name: str, names: Collection[str]) -> str:
    """The names nearest to a wrong one, where any is near, and all that there are.

    >>> hint("vgg61", ["mlp", "vgg16"])
    'did you mean vgg16? There are mlp, vgg16'
    """
    near = difflib.get_close_matches(name, names)
    question = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{question}There are {', '.join(names)}"


def listed(names: Collection[str], most: int) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(list(names)[:most])}{more}"


def pick(names: Collection[str], usual: Collection[str], asked: str | None = None) -> str:
    """One of several sets of weights: the one asked for, or the only one, or the usual one.

    Args:
      names: of the sets, paths like ``model/state_dict``; at least one.
      usual: last parts of paths, the most usual first.
      asked: the name that the user gives.

    Raises:
      ValueError: there is none of this name, or none is usual.

    >>> pick(["ema", "model/state_dict"], ["state_dict", "model"])
    'model/state_dict'
    """
    if asked is not None:
        if asked not in names:
            raise ValueError(f"no weights are called {asked!r}: {hint(asked, names)}")
        return asked
    if len(names) == 1:
        return next(iter(names))
    found = [n for last in usual for n in sorted(names, key=len) if n.rpartition("/")[2] == last]
    if not found:
        raise ValueError(f"which weights are meant has to be said: {', '.join(names)}")
    return found[0]
