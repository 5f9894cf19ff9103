"""The paper's claims, judged by numbers; only the thresholds are written by hand.

Each ``claim_N`` turns the results of one repetition into a `judging.Claim`. Verdicts over several
repetitions are made in `experiments.papers.verdicts`.
"""

from ...judging import Claim, Results
from .barriers import claim_3, claim_4
from .connections import claim_1, claim_2, claim_9
from .minima import claim_8
from .plane import claim_5, claim_6, claim_7

__all__ = ["CLAIMS", "judge"]

CLAIMS = (claim_1, claim_2, claim_3, claim_4, claim_5, claim_6, claim_7, claim_8, claim_9)


def judge(results: Results) -> list[Claim]:
    """Judges all nine claims for one repetition."""
    return [claim(results) for claim in CLAIMS]
