from pathlib import Path

import mcjax

ROOT = Path(__file__).parent.parent


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {mcjax.__version__}\n" in citation
    assert f"\n## {mcjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
