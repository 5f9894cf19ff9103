"""The reference lists modules that exist, and what it lists has examples."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", re.M)
LISTED = {
    name: dict(re.findall(r":([\w-]+): *(.*)", options))
    for page in sorted(REFERENCE.glob("*.rst"))
    for name, options in DIRECTIVE.findall(page.read_text() + "\n")
}


def members(module, options):
    """The public functions and classes that a page describes, by name."""
    if "members" not in options:
        return {}
    names = options["members"].split(", ") if options["members"] else public(module)
    left_out = options.get("exclude-members", "").split(", ")
    found = {name: getattr(module, name) for name in names if name not in left_out}
    kinds = inspect.isclass, lambda x: inspect.isfunction(inspect.unwrap(x))  # a cached one, too
    return {name: x for name, x in found.items() if any(kind(x) for kind in kinds)}


def public(module):
    own = [n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


@pytest.mark.parametrize("name", LISTED)
def test_sphinx_finds_what_a_module_exports(name):
    module = importlib.import_module(name)
    assert set(getattr(module, "__all__", ())) <= set(dir(module))


def has_example(module, member):
    """Whether it has an example; one in the module does for a protocol or an exception."""
    is_class = inspect.isclass(member)
    simple = is_class and (getattr(member, "_is_protocol", False) or issubclass(member, Exception))
    documents = [member.__doc__, module.__doc__ if simple else ""]
    return any(">>>" in (document or "") for document in documents)


def test_the_reference_lists_the_library():
    assert len(LISTED) > 50
    assert {"mcjax.api", "mcjax.curves", "mcjax.planes", "mcjax.sums", "mcjax.results"} < {*LISTED}
    index = (REFERENCE / "index.md").read_text()
    for page in REFERENCE.glob("*.rst"):
        assert f"]({page.name})" in index, page.name


@pytest.mark.parametrize("name", LISTED)
def test_what_the_reference_lists_has_an_example(name):
    module = importlib.import_module(name)
    described = members(module, LISTED[name])
    assert described or module.__doc__
    assert [n for n, member in described.items() if not has_example(module, member)] == []
