"""Reads tutorials: jupytext scripts in docs/tutorials, each offered as notebook and as script."""

import jupytext
from nbformat import NotebookNode
from sphinx.application import Sphinx

LINKS = "# Download: {{nb-download}}`{0}.ipynb`, {{download}}`{0}.py <{0}.py>`"


def notebook(text: str) -> NotebookNode:
    """The notebook of a script in the percent format."""
    found = jupytext.reads(text, fmt="py:percent")
    found.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    found.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return found


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Adds the links below a tutorial's title."""
    if app.env.doc2path(docname).suffix == ".py":
        begin, title, rest = source[0].partition("\n# # ")
        heading, _, rest = rest.partition("\n")
        links = LINKS.format(docname.rpartition("/")[2])
        source[0] = f"{begin}{title}{heading}\n#\n{links}\n{rest}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `read`."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
