import base64
import html.parser

import numpy as np
from matplotlib.figure import Figure

from experiments import report
from mcjax import plots

EVIL = '<script>alert("1")</script> | a\nb'


class Seen(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.images = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.text.append(data)


def test_both_forms_say_the_same_and_escape(tmp_path):
    figure = Figure()
    figure.subplots().plot(np.arange(3))
    png = plots.save(figure, tmp_path / "figures" / "one")
    blocks = [
        report.Heading(EVIL),
        report.Text(EVIL),
        report.Table(("a", EVIL), [("1", EVIL)]),
        report.Image(png, EVIL),
    ]
    report.write(tmp_path, EVIL, blocks)
    seen = Seen()
    seen.feed((tmp_path / "report.html").read_text())
    assert "script" not in seen.tags
    assert sum("alert" in t for t in seen.text) >= 5
    assert base64.b64decode(seen.images[0]["src"].partition(",")[2]) == png.read_bytes()
    markdown = (tmp_path / "report.md").read_text()
    assert "<script>" not in markdown
    assert "(figures/one.png)" in markdown
    assert "| 1 | &lt;script" in markdown
    assert "\\| a b |" in markdown
