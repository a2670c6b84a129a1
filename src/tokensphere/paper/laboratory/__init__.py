"""The presets of the laboratory: figures, counterexamples, cycles and theorems, to be played.

    python -m tokensphere.paper.laboratory    # writes book/_laboratory/presets.json

The page itself is plain JavaScript, beside that file. Which box or figure of the book has no
preset, and why, is said in :data:`ELSEWHERE`.
"""

import json
from dataclasses import asdict
from functools import cache

from tokensphere.paper import ledger

from . import circle, first_tokens, later_tokens, line
from .elsewhere import ELSEWHERE
from .preset import BENCHES, Preset

__all__ = ["BENCHES", "ELSEWHERE", "FILE", "Preset", "presets", "text"]

FILE = ledger.ROOT / "book" / "_laboratory" / "presets.json"


@cache
def presets() -> tuple[dict, ...]:
    """All presets, as the page's program reads them, in the order of the list."""
    found = [*first_tokens.presets(), *later_tokens.presets(), *circle.presets(), *line.presets()]
    return tuple(asdict(one) | {"places": list(one.places)} for one in found)


def text() -> str:
    """The file: JSON, the shares that the circle's counts are held against, and a preset a line."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in presets())
    return f'{{"shares": {json.dumps(circle.expected())},\n"presets": [\n{lines}\n]}}\n'
