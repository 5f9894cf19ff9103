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
