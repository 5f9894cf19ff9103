import base64
import html.parser

import numpy as np
from matplotlib.figure import Figure

from experiments.cli.configs import ReproduceConfig
from experiments.papers import report
from experiments.papers.gotmare2018 import appendix, paper_report, scales
from experiments.papers.gotmare2018.findings import Findings
from mcjax import plots
from mcjax.results import Means, PathMetrics, Profile

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
        report.Text(EVIL, EVIL),
        report.Table(("a", EVIL), [("1", EVIL), ("2", report.Cell(EVIL, "held", [EVIL], EVIL))]),
        report.Image(png, EVIL),
        report.Folded(EVIL, [report.Text(EVIL)]),
    ]
    report.write(tmp_path, EVIL, blocks)
    seen = Seen()
    seen.feed((tmp_path / "report.html").read_text())
    assert "script" not in seen.tags
    assert sum("alert" in t for t in seen.text) >= 10
    assert base64.b64decode(seen.images[0]["src"].partition(",")[2]) == png.read_bytes()
    markdown = (tmp_path / "report.md").read_text()
    assert "<script>" not in markdown
    assert "(figures/one.png)" in markdown
    assert "| 1 | &lt;script" in markdown
    assert "\\| a b |" in markdown


def test_links_find_their_headings(tmp_path):
    """In Markdown the forge makes the address of a heading, in HTML we do: the same."""
    cell = report.Cell("Figure 3", link=report.Heading("Figure 3").anchor)
    report.write(tmp_path, "a", [report.Heading("Figure 3", 3), report.Table(("f",), [(cell,)])])
    page = (tmp_path / "report.html").read_text()
    assert '<h3 id="figure-3">' in page
    assert '<a href="#figure-3">' in page
    markdown = (tmp_path / "report.md").read_text()
    assert "### Figure 3" in markdown
    assert "[Figure 3](#figure-3)" in markdown


def test_the_page_serves_dark_screens_narrow_ones_and_print(tmp_path):
    table = report.Table(("verdict", "why"), [("held", "")], cards=True)
    report.write(tmp_path, "a", [table])
    page = (tmp_path / "report.html").read_text()
    for query in ("prefers-color-scheme: dark", "max-width: 700px", "@media print"):
        assert query in page
    assert 'name="viewport"' in page
    assert '<td data-label="verdict"><div>held</div></td>' in page
    assert '<td data-label="why" class="empty">' in page


def test_metrics_of_ones_own_have_rows_with_their_names():
    t = np.linspace(0, 1, 3)
    path = PathMetrics({"train": {"loss": t}}, t)
    assert not appendix.own_metrics_rows("AB", Profile(t, {"curve": path, "segment": path}))
    own = {"validation": {"F1": np.array([0.5, 0.25, 0.75])}}
    curve = PathMetrics(path.metrics | own, means={"validation": {"F1": Means(0.4375, 0.4)}})
    cells = ("0.5", "0.75", "0.25", "0.75", "0.4375")
    rows = appendix.own_metrics_rows("AB", Profile(t, {"curve": curve, "segment": path}))
    assert rows == [("AB", "curve", "validation F1", *cells)]


def test_fewer_epochs_at_the_papers_own_scale_are_the_only_difference():
    config = ReproduceConfig(scale="cifar10", epochs_factor=0.5)
    found = Findings(config, scales.SCALES["cifar10"], {}, [], [], [], {}, None)
    words = "all epoch counts are multiplied by 0.5, so the verdicts mean little"
    assert paper_report._differences(found) == words
    digits = found._replace(scale=scales.SCALES["digits"])
    assert paper_report._differences(digits).endswith(f" in the paper); {words}")
    assert not paper_report._differences(found._replace(config=ReproduceConfig()))
