"""Every function that the page of methods names exists, and every formula becomes MathML."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "methods.md").read_text()
NAMES = sorted({*re.findall(r"`(mcjax(?:\.\w+)+)`", PAGE)})


def resolve(name):
    """The object of a dotted name, of a module or of what is in it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:], module)
    raise ModuleNotFoundError(name)


def test_every_name_resolves():
    assert len(NAMES) > 60
    for name in NAMES:
        assert resolve(name).__doc__, name


def test_a_name_that_does_not_exist_is_found_out():
    with pytest.raises(AttributeError, match="has no attribute 'beziers'"):
        resolve("mcjax.curves.beziers")


def test_formulas_have_no_macro_that_the_site_does_not_know():
    converter = pytest.importorskip("latex2mathml.converter")
    found = re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", PAGE, flags=re.DOTALL)
    assert len(found) > 100
    for block, inline in found:
        assert "\\" not in converter.convert(block or inline), block or inline
