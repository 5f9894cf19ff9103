"""The examples of README and of the docs run as they stand there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/your_model.md")
EXAMPLES = [
    code
    for page in PAGES
    for code in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_readme_examples(code):
    test = doctest.DocTestParser().get_doctest(code, {}, "example", "example", 0)
    assert len(test.examples) >= 6
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_there_are_five():
    assert len(EXAMPLES) == 5


def test_links_lead_to_files_that_exist():
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "BUILD.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/surfaces/*.md"),
    ):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
