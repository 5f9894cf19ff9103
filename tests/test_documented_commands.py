"""The commands that README, BUILD and the docs print have flags that exist, with valid values."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments.__main__ import commands
from experiments.cli import flags

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "BUILD.md",
    *sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/surfaces/*.md")]),
]
COMMAND = re.compile(r"(?:python -m experiments\.|mcjax )(\w+)((?: --[^\n]*)?)$", re.MULTILINE)
SAMPLE = """
```
python -m experiments.soup --points=runs/A@all \\
    --recipe=swa --workdir=runs/B     # a comment
for seed in 0; do
  python -m experiments.train_mode --seed=$seed --workdir=runs/C$seed
done
```
"""


def documented(text):
    """The commands in the code blocks of a page, each with its words."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    for block in (block for language, block in blocks if not language):
        joined = re.sub(r"\\\n\s*", "", block).replace("$seed", "0")
        for name, rest in COMMAND.findall(joined):
            words = re.split(r" (?:#|&&)|;|\|", rest)[0]
            yield name, shlex.split(words.removesuffix('"') if words.count('"') % 2 else words)


def config_of(name):
    source = (ROOT / "experiments" / f"{name}.py").read_text()
    module = importlib.import_module(f"experiments.{name}")
    return getattr(module, re.search(r"    main\((\w+),", source)[1])


def test_commands_are_found_over_several_lines_and_without_comments():
    assert list(documented(SAMPLE)) == [
        ("soup", ["--points=runs/A@all", "--recipe=swa", "--workdir=runs/B"]),
        ("train_mode", ["--seed=0", "--workdir=runs/C0"]),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_documented_commands_parse(page):
    for name, words in documented(page.read_text()):
        assert name in commands(), f"{page.name}: there is no command {name}"
        flags.parse(config_of(name), words)


def test_the_pages_have_commands():
    found = [name for page in PAGES for name, _ in documented(page.read_text())]
    assert len(found) > 40
    assert {"interpolate", "layers", "soup", "instability"} <= set(found)
