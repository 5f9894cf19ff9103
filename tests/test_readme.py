"""README's example runs as it stands there."""

import doctest
from pathlib import Path


def test_readme_example():
    text = Path(__file__).resolve().parent.parent.joinpath("README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    test = doctest.DocTestParser().get_doctest(code, {}, "README.md", "README.md", 0)
    assert len(test.examples) >= 10
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
