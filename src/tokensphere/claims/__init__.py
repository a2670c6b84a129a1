"""The ledger: every statement of the papers that was checked, its verdict, and the check itself.

A check is a function of a random generator that returns :class:`Evidence`: whether the statement it
tests passed, and the numbers that decided. A claim has up to three of them, and its verdict says
what they must give for it to be confirmed:

    holds        the check of the statement as printed passes; its negative control, the same check
                 on a statement made wrong on purpose, does not
    corrected    the check of the statement as printed fails; that of the corrected one passes
    fails        the check of the statement as printed fails, and no repair is known
    gap          as "holds", but the paper's proof has a gap, which `correction` names
    definition   as "holds", for a definition: that this package computes what it says
    open         neither proved nor refuted; the check passes on what was tried

The tests, the book and ``tokensphere claims`` run the same checks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

__all__ = ["LEDGER", "VERDICTS", "Claim", "Evidence", "Outcome", "check"]

VERDICTS = ("definition", "holds", "corrected", "fails", "gap", "open")

EXPECTED = {
    "definition": {"stated": True, "control": False},
    "holds": {"stated": True, "control": False},
    "gap": {"stated": True, "control": False},
    "corrected": {"stated": False, "corrected": True},
    "fails": {"stated": False},
    "open": {"stated": True},
}
"""Which checks a verdict needs, and whether each must pass."""


@dataclass(frozen=True)
class Evidence:
    """What a check found: whether it passed, and the numbers that decided, as JSON values."""

    passed: bool
    numbers: dict[str, float | int | str | bool | list] = field(default_factory=dict)


Check = Callable[[torch.Generator], Evidence]


@dataclass(frozen=True)
class Claim:
    """One statement of the papers.

    Args:
        id: short name, as in ``tokensphere claims --check ID``.
        where: its number and place in the paper.
        statement: what it says, in our words; Markdown with LaTeX.
        verdict: one of VERDICTS.
        chapter: the page of the book that treats it.
        stated: the check of the statement as printed.
        control: a negative control, which must not pass.
        corrected: the check of the corrected statement.
        correction: what must be changed or added for the statement to hold; or the gap.
        remains: what is still open.

    Raises:
        ValueError: an unknown verdict, or checks that do not go with it.
    """

    id: str
    where: str
    statement: str
    verdict: str
    chapter: str
    stated: Check
    control: Check | None = None
    corrected: Check | None = None
    correction: str = ""
    remains: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.id}: verdict {self.verdict!r} is none of {VERDICTS}")
        needed = EXPECTED[self.verdict]
        given = {name for name in ("stated", "control", "corrected") if getattr(self, name)}
        if given != set(needed):
            raise ValueError(
                f"{self.id}: verdict {self.verdict!r} needs the checks {sorted(needed)}, "
                f"has {sorted(given)}"
            )
        if self.verdict in ("corrected", "gap") and not self.correction:
            raise ValueError(f"{self.id}: verdict {self.verdict!r} needs a correction")


@dataclass(frozen=True)
class Outcome:
    """A claim, whether its checks confirm its verdict, their evidence by name, and wall time."""

    claim: Claim
    confirmed: bool
    evidence: dict[str, Evidence]
    seconds: float


def check(id: str, seed: int = 0) -> Outcome:
    """Runs the checks of one claim, each with a generator seeded by `seed`.

    Raises:
        KeyError: an id that is not in the ledger.
    """
    claim = LEDGER[id]
    began = time.perf_counter()
    evidence = {
        name: getattr(claim, name)(torch.Generator().manual_seed(seed))
        for name in EXPECTED[claim.verdict]
    }
    confirmed = all(
        evidence[name].passed == expected for name, expected in EXPECTED[claim.verdict].items()
    )
    return Outcome(claim, confirmed, evidence, time.perf_counter() - began)


def _ledger() -> dict[str, Claim]:
    # Here and not at the top: these modules import Claim and Evidence from this one.
    from . import (
        alignment,
        attention_sink,
        attraction,
        autoregressive,
        circle,
        equilibria,
        flow,
        general_steps,
        other_tokens,
        pair_interactions,
        positive_angles,
        reordered_flow,
        reordered_premises,
        reordered_training,
        s6_layer,
        sharp_rates,
        simulations,
        stability,
        unstable_set,
    )

    parts = (
        (s6_layer, flow, simulations),
        (equilibria, stability, alignment, circle),
        (other_tokens, pair_interactions, positive_angles, attraction),
        (unstable_set, autoregressive, sharp_rates, general_steps),
        (attention_sink, reordered_premises, reordered_flow, reordered_training),
    )
    ledger: dict[str, Claim] = {}
    for module in (module for part in parts for module in part):
        for claim in module.CLAIMS:
            if claim.id in ledger:
                raise ValueError(f"{claim.id}: two claims have this id")
            ledger[claim.id] = claim
    return ledger


LEDGER: dict[str, Claim] = _ledger()
