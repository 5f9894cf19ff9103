"""Hints for misspelled names."""

import difflib
from collections.abc import Collection


def hint(name: str, names: Collection[str]) -> str:
    """Suggests the names closest to a wrong one, if any are close, and lists all of them.

    >>> hint("vgg61", ["mlp", "vgg16"])
    'did you mean vgg16? There are mlp, vgg16'
    """
    near = difflib.get_close_matches(name, names)
    question = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{question}There are {', '.join(names)}"


def listed(names: Collection[str], most: int) -> str:
    """Joins the first ``most`` names and counts the rest.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(list(names)[:most])}{more}"


def pick(names: Collection[str], usual: Collection[str], asked: str | None = None) -> str:
    """Picks one of several sets of weights: the requested one, the only one, or a usual one.

    Args:
      names: paths of the sets, such as ``model/state_dict``; at least one.
      usual: last parts of paths, in order of preference.
      asked: the name that the user requests.

    Raises:
      ValueError: no set has the requested name, or none has a usual one.

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
        raise ValueError(f"several sets of weights, name one of them: {', '.join(names)}")
    return found[0]
