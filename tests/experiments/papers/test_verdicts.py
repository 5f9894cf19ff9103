import json

import pytest

from experiments.papers import verdict_figure, verdicts
from experiments.papers.judging import (
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_TESTABLE,
    REPRODUCED,
    Claim,
    Measurement,
    Quantity,
    Reading,
)

HEIGHT = Quantity("height", "%", "above", 5)
BULGE = Quantity("bulge", "%", "at most", 25)


def reading(verdict, *measured, label=""):
    """A reading of ``(quantity, pair, value)``, each held against its threshold."""
    holds = {"above": lambda v: v > 5, "at most": lambda v: v <= 25}
    found = tuple(Measurement(q, pair, v, holds[q.relation](v)) for q, pair, v in measured)
    return Reading(label, "rule", verdict, found, "")


@pytest.mark.parametrize(
    ("seeds", "words", "mark"),
    [
        ([REPRODUCED], "reproduced (one seed)", "held"),
        ([NOT_REPRODUCED], "not reproduced (one seed)", "refuted"),
        ([NOT_TESTABLE], NOT_TESTABLE, "open"),
        ([NOT_RUN], NOT_RUN, "open"),
        ([REPRODUCED] * 3, "reproduced in 3 of 3 seeds", "held"),
        ([NOT_REPRODUCED] * 3, "reproduced in 0 of 3 seeds", "refuted"),
        ([REPRODUCED, NOT_REPRODUCED], "reproduced in 1 of 2 seeds", "mixed"),
        ([REPRODUCED, NOT_RUN, REPRODUCED], "reproduced in 2 of 2 seeds; 1 not run", "held"),
        (
            [NOT_REPRODUCED, NOT_TESTABLE, NOT_RUN],
            "reproduced in 0 of 1 seeds; not testable at this scale in 1; 1 not run",
            "refuted",
        ),
        ([NOT_TESTABLE] * 2, "not testable at this scale", "open"),
        ([NOT_RUN] * 2, "not run", "open"),
    ],
)
def test_the_verdict_counts_the_seeds_that_can_tell(seeds, words, mark):
    found = [reading(verdict) for verdict in seeds]
    assert verdicts.verdict(found) == words
    assert verdicts.mark(found) == mark


def test_the_deciding_number_is_the_worst_pair_of_each_seed():
    """Of the quantity that speaks against the claim, if one does."""
    first = reading(REPRODUCED, (HEIGHT, "a", 9.0), (HEIGHT, "b", 7.0), (BULGE, "a", 3.0))
    second = reading(REPRODUCED, (HEIGHT, "a", 6.0), (HEIGHT, "b", 8.0), (BULGE, "a", 4.0))
    found = verdicts.deciding([first, second])
    assert found == verdicts.Deciding(HEIGHT, (7.0, 6.0), 2)
    assert verdicts.interval(found.values) == "6.5 [6, 7]"
    assert verdicts.needed(HEIGHT) == "above 5 %"
    third = reading(NOT_REPRODUCED, (HEIGHT, "a", 6.0), (BULGE, "a", 30.0), (BULGE, "b", 1.0))
    assert verdicts.deciding([first, third]) == verdicts.Deciding(BULGE, (3.0, 30.0), 2)
    assert verdicts.deciding([reading(NOT_RUN)]) is None


def claim(number, *readings):
    return Claim(number, "the paper's words", f"short {number}", 1, readings, {"n": float("inf")})


def seeds_of(*claims_of_seeds):
    return list(claims_of_seeds)


def test_the_summary_says_every_claim_once_by_what_came_of_it():
    good, bad = reading(REPRODUCED), reading(NOT_REPRODUCED)
    early, late = reading(NOT_REPRODUCED, label="early"), reading(REPRODUCED, label="late (7)")
    beside = reading(REPRODUCED)._replace(decides=False)
    seeds = [
        [claim(1, good, beside), claim(2, early, late), claim(3, good), claim(4, reading(NOT_RUN))],
        [claim(1, good, beside), claim(2, early, late), claim(3, bad), claim(4, reading(NOT_RUN))],
    ]
    assert verdicts.summary(seeds) == [
        "Reproduced in every seed judged: short 1 (claim 1); short 2, late (claim 2).",
        "Reproduced in some seeds: short 3 (claim 3: reproduced in 1 of 2 seeds).",
        "Not reproduced: short 2, early (claim 2).",
        "Not judged: short 4 (claim 4: not run).",
    ]
    labelled = "early: reproduced in 0 of 2 seeds; late (7): reproduced in 2 of 2 seeds"
    assert verdicts.of_claim([one[1] for one in seeds]) == labelled


def test_numbers_keep_three_digits_and_no_power_of_ten_below_a_million():
    found = [verdicts.number(x) for x in (0.04567, 999.4, 999.7, -999.5, 1234.5, 2e6)]
    assert found == ["0.0457", "999", "1,000", "-1,000", "1,234", "2e+06"]


def test_claims_json_has_every_number_of_every_seed_and_is_json():
    one = claim(1, reading(REPRODUCED, (HEIGHT, "a", 9.0), (BULGE, "a", float("nan"))))
    found = json.loads(json.dumps(verdicts.as_json([[one], [one]]), allow_nan=False))
    assert found[0]["verdict"] == "reproduced in 2 of 2 seeds"
    assert found[0]["numbers"] == [{"n": None}] * 2
    measured = found[0]["readings"][0]["seeds"][1]["measurements"]
    assert [m["value"] for m in measured] == [9.0, None]
    assert measured[0]["threshold"] == 5


def test_the_figure_has_a_panel_per_quantity_and_a_dot_per_pair_and_seed():
    seeds = [
        [claim(1, reading(REPRODUCED, (HEIGHT, "a", 9.0), (HEIGHT, "b", 1e4), (BULGE, "a", 3.0)))],
        [claim(1, reading(NOT_REPRODUCED, (HEIGHT, "a", 2.0), (BULGE, "a", float("inf"))))],
    ]
    figure = verdict_figure.draw(seeds)
    heights, bulges = figure.get_axes()
    dots = [line for line in heights.lines if line.get_marker() in verdict_figure.MARKERS]
    assert [float(d.get_xdata()[0]) for d in dots] == [9.0, 1e4, 2.0]
    assert [d.get_markerfacecolor() == "white" for d in dots] == [False, False, True]
    assert [t.get_text() for t in heights.get_yticklabels()] == ["a", "b"]
    assert any(list(line.get_xdata()) == [25, 25] for line in bulges.lines)
    assert heights.get_xscale() == "symlog"
    assert verdict_figure.draw([[claim(1, reading(NOT_RUN))]]) is None


@pytest.mark.parametrize(("measured", "named"), [([0], []), ([0, 2], ["seed 0", "seed 2"])])
def test_the_legend_names_the_seeds_that_were_measured_if_there_are_several(measured, named):
    one = {True: reading(REPRODUCED, (HEIGHT, "a", 9.0)), False: reading(NOT_RUN)}
    figure = verdict_figure.draw([[claim(1, one[seed in measured])] for seed in range(3)])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["holds", *named, "threshold"]
