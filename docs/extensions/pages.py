"""Makes pages of README.md, BUILD.md, CHANGELOG.md and CONTRIBUTING.md, which stay beside the code.

A stub in docs/ stands for each. Links between the repository's root and docs/ become links between
pages.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
STUBS = {
    "README": "index", "BUILD": "build", "CHANGELOG": "changelog", "CONTRIBUTING": "contributing",
}  # fmt: skip
"""Files beside the code, and the pages that they become."""


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts a file's text in place of its stub, and changes links in all pages."""
    for name, stub in STUBS.items():
        if docname == stub:
            app.env.note_dependency(str(ROOT / f"{name}.md"))
            text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
            text = re.sub(r"\]\(docs/", "](", text)
            for other, page in STUBS.items():
                text = re.sub(rf"\]\({other}(\.md)?\b", f"]({page}.md", text)
            source[0] = f"{text}\n{source[0].partition('<!-- site -->')[2]}"
            return
    for name, stub in STUBS.items():
        source[0] = re.sub(rf"\]\(((?:\.\./)*)\.\./{name}\.md", rf"](\1{stub}.md", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `read`."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
