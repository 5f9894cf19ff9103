"""Reports: one self-contained HTML page, and the same in Markdown.

Both are written from the same blocks. All text is escaped.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..cli import PACKAGE_ROOT
from ..runs import write_atomically

STYLE = PACKAGE_ROOT / "experiments" / "page" / "report.css"


class Heading(NamedTuple):
    """A heading of a section."""

    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """Its address, which forges derive from the text in the same way.

        >>> Heading("Figure 3").anchor
        'figure-3'
        """
        kept = (c for c in self.text.lower() if c.isalnum() or c in " -")
        return "".join(kept).replace(" ", "-")


class Text(NamedTuple):
    """A paragraph, after ``lead`` in bold."""

    text: str
    lead: str = ""


class Cell(NamedTuple):
    """A cell of several lines.

    Attributes:
      text: the first line.
      look: for a verdict, ``held``, ``mixed``, ``refuted`` or ``open``.
      more: further lines, in smaller print.
      link: the address of a heading of this report.
    """

    text: str
    look: str = ""
    more: Sequence[str] = ()
    link: str = ""


class Table(NamedTuple):
    """A table.

    Attributes:
      header: the columns' names.
      rows: text or cells.
      cards: whether rows become cards on a narrow screen; otherwise the table scrolls.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    cards: bool = False


class Image(NamedTuple):
    """A figure with its caption; ``wide`` makes it as wide as the page."""

    path: Path
    caption: str
    wide: bool = False


Leaf = Heading | Text | Table | Image


class Folded(NamedTuple):
    """A section that opens on click."""

    title: str
    blocks: Sequence[Leaf]


Block = Leaf | Folded


def write(folder: Path, title: str, blocks: Sequence[Block]) -> None:
    """Writes ``report.html`` and ``report.md`` into a folder."""
    body = "\n".join(_html(block) for block in blocks)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE.read_text()}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )
    write_atomically(folder / "report.html", page)
    text = "\n\n".join([f"# {_plain(title)}", *(_markdown(block, folder) for block in blocks)])
    write_atomically(folder / "report.md", text + "\n")


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{html.escape(block.anchor)}">{html.escape(text)}</h{level}>'
        case Text(text, lead):
            start = f'<span class="lead">{html.escape(lead)}</span> ' if lead else ""
            return f"<p>{start}{html.escape(text)}</p>"
        case Table():
            return _html_table(block)
        case Image(path, caption, wide):
            data = base64.b64encode(path.read_bytes()).decode()
            look = ' class="full"' if wide else ""
            return (
                f'<figure><img{look} alt="{html.escape(caption)}" '
                f'src="data:image/png;base64,{data}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
        case Folded(title, blocks):
            inside = "\n".join(map(_html, blocks))
            return f"<details><summary>{html.escape(title)}</summary>\n{inside}\n</details>"
    raise TypeError(block)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
    rows = "\n".join(
        "<tr>" + "".join(map(_html_cell, row, table.header)) + "</tr>" for row in table.rows
    )
    look = "cards" if table.cards else ""
    return (
        f'<div class="wide"><table class="{look}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _html_cell(cell: str | Cell, label: str) -> str:
    text, look, more, link = cell if isinstance(cell, Cell) else Cell(cell)
    inside = html.escape(text)
    if link:
        inside = f'<a href="#{html.escape(link)}">{inside}</a>'
    if look:
        inside = f'<span class="lead {look}">{inside}</span>'
    inside += "".join(f'<span class="more">{html.escape(line)}</span>' for line in more)
    empty = "" if inside else ' class="empty"'
    return f'<td data-label="{html.escape(label)}"{empty}><div>{inside}</div></td>'


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Text(text, lead):
            return f"**{_plain(lead)}** {_plain(text)}" if lead else _plain(text)
        case Table(header, rows):
            line = lambda cells: "| " + " | ".join(map(_markdown_cell, cells)) + " |"  # noqa: E731
            rule = "|" + "---|" * len(header)
            return "\n".join([line(header), rule, *map(line, rows)])
        case Image(path, caption):
            name = path.relative_to(folder).as_posix()
            return f"![{_plain(caption)}]({name})\n\n*{_plain(caption)}*"
        case Folded(title, blocks):
            inside = "\n\n".join(_markdown(one, folder) for one in blocks)
            return f"<details>\n<summary>{_plain(title)}</summary>\n\n{inside}\n\n</details>"
    raise TypeError(block)


def _markdown_cell(cell: str | Cell) -> str:
    text, look, more, link = cell if isinstance(cell, Cell) else Cell(cell)
    inside = _cell(text)
    if link:
        inside = f"[{inside}](#{_cell(link)})"
    if look:
        inside = f"**{inside}**"
    return "<br>".join([inside, *map(_cell, more)])


def _plain(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", " ")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
