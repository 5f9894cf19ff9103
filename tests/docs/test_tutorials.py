"""Tutorials: each is listed, has a title and code, and ends with words."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def cells(script):
    """The cells as pairs of kind and text, as the percent format divides them."""
    kinds = {"": "code", " [markdown]": "markdown"}
    parts = re.split(r"^# %%(.*)\n", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert parts[0] == ""
    texts = (re.sub(r"^# ?", "", x, flags=re.MULTILINE) for x in parts[2::2])
    return [
        (kinds[kind], text if kinds[kind] == "markdown" else code)
        for kind, text, code in zip(parts[1::2], texts, parts[2::2], strict=True)
    ]


def test_the_index_lists_every_tutorial():
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    tree = re.search(r"```{toctree}\n(.*?)```", index, re.DOTALL)
    listed = [line for line in tree[1].split() if not line.startswith(":")]
    assert sorted(listed) == [script.stem for script in SCRIPTS]
    assert all(f"]({script.name})" in index for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_tutorial_is_a_notebook_with_a_title(script):
    found = cells(script)
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "markdown"
    assert re.match(r"# \S.*\n\n\S", found[0][1]), "begins with a title and what one learns"
    assert "code" in kinds
    assert kinds[-1] == "markdown", "ends with what the results mean"
    for kind, text in found:
        if kind == "code":
            compile(re.sub(r"^[%!].*", "", text, flags=re.MULTILINE), script.name, "exec")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_jupytext_finds_the_same_cells(script):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    assert [cell.cell_type for cell in notebook.cells] == [kind for kind, _ in cells(script)]
