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


def test_metrics_of_ones_own_have_a_table_with_their_names():
    t = np.linspace(0, 1, 3)
    arrays = {"t": t, "curve_train_loss": t, "segment_train_loss": t, "curve_l2": t}
    assert not report.metrics_table({"AB": arrays}).rows
    arrays |= {"curve_validation_F1": np.array([0.5, 0.25, 0.75])}
    arrays |= {"curve_validation_F1_mean": np.array(0.4375)}
    table = report.metrics_table({"AB": arrays})
    cells = ("0.5", "0.75", "0.25", "0.75", "0.4375")
    assert table.rows == [("AB", "curve", "validation F1", *cells)]
