"""The ledger: every statement of the papers that was checked, its verdict, and its checks.

Statements are data, one TOML file a chapter in ``statements/``, in folders as the book's. A check
is a named function in the module of the same path in ``checks/``. It takes a random generator, and
the arguments that the statement gives, and returns :class:`Evidence`: the criteria that decide,
each with its number, and further numbers.

A claim has up to three checks: `stated`, of the statement as printed; `control`, the same check on
a statement made wrong on purpose; `corrected`, of what is true instead. :data:`VERDICTS` says which
a verdict needs and what they must give. The tests, the book and ``tokensphere claims`` run the same
ones. Reading the ledger imports neither torch nor sympy; running a check does.
"""

import ast
import importlib
import math
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]
ROLES = {"stated": "as stated", "control": "control", "corrected": "as corrected"}
"""What a check is for, in the order in which they run, and in words."""

HEADINGS = {
    "holds amended": "What changes",
    "refuted": "What is true instead",
    "unsupported": "What our runs say",
    "gap": "The gap",
}
"""Of a claim's correction, by verdict."""


class Verdict(NamedTuple):
    """What a verdict means, the checks it needs with what each must give, and those it may have."""

    meaning: str
    needs: dict[str, bool]
    may: dict[str, bool] = {}  # noqa: RUF012 (a NamedTuple's default; nothing writes to it)
    texts: tuple[str, ...] = ()


VERDICTS = {
    "definition": Verdict(
        "a definition; the library computes what it says", {"stated": True, "control": False}
    ),
    "holds": Verdict("true as stated", {"stated": True, "control": False}),
    "holds amended": Verdict(
        "its content stands; a hypothesis, a sign, a constant or an exception changes",
        {"stated": False, "corrected": True},
        texts=("correction",),
    ),
    "gap": Verdict(
        "true; a step of the paper's proof fails, and another one closes it",
        {"stated": True, "control": False},
        texts=("correction",),
    ),
    "refuted": Verdict(
        "false as meant, on a concrete case; what is true instead is said",
        {"stated": False},
        {"corrected": True},
        texts=("correction",),
    ),
    "unsupported": Verdict(
        "an empirical claim that our runs, or the paper's own numbers, do not bear out",
        {"stated": False},
        {"corrected": True},
        texts=("correction", "power"),
    ),
    "open": Verdict(
        "neither proved nor refuted; what was tried, if anything could be, agrees",
        {},
        {"stated": True},
    ),
}
"""By name, in the order in which they are listed."""


@dataclass(frozen=True)
class Criterion:
    """One number, what it must be, and whether it is."""

    what: str
    value: Any
    must: str
    met: bool


def below(what: str, value: Any, bound: float) -> Criterion:
    return _judged(what, value, f"below {_show(bound)}", lambda number: number < bound)


def above(what: str, value: Any, bound: float) -> Criterion:
    return _judged(what, value, f"above {_show(bound)}", lambda number: number > bound)


def at_most(what: str, value: Any, bound: float) -> Criterion:
    return _judged(what, value, f"at most {_show(bound)}", lambda number: number <= bound)


def at_least(what: str, value: Any, bound: float) -> Criterion:
    return _judged(what, value, f"at least {_show(bound)}", lambda number: number >= bound)


def between(what: str, value: Any, low: float, high: float) -> Criterion:
    """`value` in the closed interval [low, high]."""
    must = f"from {_show(low)} to {_show(high)}"
    return _judged(what, value, must, lambda number: low <= number <= high)


def equal(what: str, value: Any, wanted: Any) -> Criterion:
    """`value` == `wanted`, exactly: counts, lists of indices, residuals of exact arithmetic."""
    return _judged(what, value, _show(wanted), lambda found: found == wanted)


def _judged(what: str, value: Any, must: str, test: Callable[[Any], bool]) -> Criterion:
    """Of a tensor or an array: of its number, or of its entries as a list."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return Criterion(what, value, must, bool(test(value)))


def _show(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Evidence:
    """What a check found: the criteria that decide, all of which must be met, and more numbers.

    Args:
        criteria: by :func:`below`, :func:`equal` and their kin; not empty.
        numbers: what else a reader should see, such as sizes and witnesses; JSON values.

    Raises:
        ValueError: no criterion.
    """

    criteria: Sequence[Criterion]
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.criteria:
            raise ValueError("criteria: got none, and nothing decides")

    @property
    def passed(self) -> bool:
        return all(criterion.met for criterion in self.criteria)


@dataclass(frozen=True)
class Check:
    """A named function of the chapter's module in ``checks/``, and the arguments it takes."""

    module: str
    name: str
    arguments: Mapping[str, Any]

    def __call__(self, generator: "torch.Generator") -> Evidence:
        function = getattr(importlib.import_module(self.module), self.name)
        return function(generator, **self.arguments)


@dataclass(frozen=True)
class Claim:
    """One statement of the papers.

    Args:
        id: short name, as in ``tokensphere claims --check ID``.
        paper: its key in the book's bibliography; "ours" for a statement that no paper makes.
        number: its number in the paper, such as "Theorem 3.3; Theorem B.7"; "" if it has none.
        place: where it stands there, such as "appendix B.1.2".
        statement: what it says, in our words; Markdown with LaTeX.
        verdict: one of VERDICTS.
        chapter: the page of the book that treats it.
        checks: by role, one of ROLES.
        correction: what must be changed or added for the statement to hold; what is true instead;
            or the gap and how it is closed.
        power: of an unsupported claim: whether our runs could have seen the effect, and how large
            a one.
        remains: what is still open.

    Raises:
        ValueError: an unknown verdict, or checks or texts that do not go with it.
    """

    id: str
    paper: str
    number: str
    place: str
    statement: str
    verdict: str
    chapter: str
    checks: Mapping[str, Check]
    correction: str = ""
    power: str = ""
    remains: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"{self.id}: verdict {self.verdict!r} is none of {', '.join(VERDICTS)}"
            )
        verdict = VERDICTS[self.verdict]
        given = set(self.checks)
        if not set(verdict.needs) <= given <= set(verdict.needs) | set(verdict.may):
            raise ValueError(
                f"{self.id}: verdict {self.verdict!r} needs the checks {sorted(verdict.needs)}, "
                f"has {sorted(given)}"
            )
        for text in ("correction", "power"):
            if bool(getattr(self, text)) != (text in verdict.texts):
                wants = "needs" if text in verdict.texts else "takes no"
                raise ValueError(f"{self.id}: verdict {self.verdict!r} {wants} {text}")

    @property
    def where(self) -> str:
        """Number and place, such as "Remark 3.4, section 3.1"."""
        return ", ".join(part for part in (self.number, self.place) if part)

    @property
    def expected(self) -> dict[str, bool]:
        """Its checks by role, in order, and whether each must pass."""
        expected = VERDICTS[self.verdict].needs | VERDICTS[self.verdict].may
        return {role: expected[role] for role in ROLES if role in self.checks}


@dataclass(frozen=True)
class Outcome:
    """A claim, whether its checks confirm its verdict, their evidence by role, and wall time."""

    claim: Claim
    confirmed: bool
    evidence: Mapping[str, Evidence]
    seconds: float


def check(id: str, seed: int = 0) -> Outcome:
    """Run the checks of one claim, each with a generator seeded by `seed`.

    Raises:
        KeyError: an id that is not in the ledger.
    """
    return run(ledger()[id], seed)


def run(claim: Claim, seed: int = 0) -> Outcome:
    """As :func:`check`, for a claim that need not be in the ledger."""
    import torch

    began = time.perf_counter()
    evidence = {
        role: claim.checks[role](torch.Generator().manual_seed(seed)) for role in claim.expected
    }
    confirmed = all(evidence[role].passed == wanted for role, wanted in claim.expected.items())
    return Outcome(claim, confirmed, evidence, time.perf_counter() - began)


@cache
def ledger() -> dict[str, Claim]:
    """All claims by id, in the order of the book's chapters, and within one as its file has them.

    Raises:
        ValueError: a statement that is not as it should be, or an id that two have.
    """
    found: dict[str, Claim] = {}
    for chapter in _chapters():
        file = FOLDER / "statements" / f"{chapter}.toml"
        if not file.is_file():
            continue
        for claim in parse(file.read_text("utf-8"), chapter):
            if claim.id in found:
                raise ValueError(f"{claim.id}: two claims have this id")
            found[claim.id] = claim
    return found


def _chapters() -> list[str]:
    # A line each, so that no YAML parser is needed to list the ledger.
    return re.findall(r"^\s*- file: (\S+)$", (ROOT / "_toc.yml").read_text("utf-8"), re.MULTILINE)


TEXTS = ("id", "number", "place", "statement", "verdict", "correction", "power", "remains")


def parse(text: str, chapter: str) -> Iterable[Claim]:
    """The claims of one file of statements.

    The file names its `paper` and holds ``[[claim]]`` tables: texts as in :class:`Claim`, and for
    each role a table with `check`, the function's name (after a module's, with a dot, where the
    chapter's checks are a package), and the function's arguments.

    Raises:
        ValueError: not TOML, a key that is missing or unknown, or as :class:`Claim`.
    """
    content = tomllib.loads(text)
    module = f"tokensphere.paper.checks.{chapter.replace('-', '_').replace('/', '.')}"
    for entry in content["claim"]:
        name = entry.get("id", "a claim without id")
        if unknown := entry.keys() - {*TEXTS, *ROLES, "paper"}:
            raise ValueError(f"{name}: unknown {', '.join(sorted(unknown))}")
        if missing := {"id", "place", "statement", "verdict"} - entry.keys():
            raise ValueError(f"{name}: without {', '.join(sorted(missing))}")
        texts = {key: " ".join(entry.get(key, "").split()) for key in TEXTS}
        checks = {role: _check(module, entry[role]) for role in ROLES if role in entry}
        paper = entry.get("paper", content["paper"])
        yield Claim(paper=paper, chapter=chapter, checks=checks, **texts)


def _check(module: str, table: Mapping[str, Any]) -> Check:
    inner, _, name = table["check"].rpartition(".")
    arguments = {key: value for key, value in table.items() if key != "check"}
    return Check(f"{module}.{inner}" if inner else module, name, arguments)


def source(check: Check) -> tuple[str, int]:
    """Where a check's function stands: its file, from the repository's root, and line.

    Raises:
        LookupError: no such function.
    """
    stem = FOLDER.parent.joinpath(*check.module.split(".")[1:])
    file = stem.with_suffix(".py") if stem.with_suffix(".py").is_file() else stem / "__init__.py"
    lines = _functions(file) if file.is_file() else {}
    if check.name not in lines:
        raise LookupError(f"{check.module}: no function {check.name!r}")
    return file.relative_to(ROOT).as_posix(), lines[check.name]


@cache
def _functions(file: Path) -> dict[str, int]:
    body = ast.parse(file.read_text("utf-8")).body
    return {node.name: node.lineno for node in body if isinstance(node, ast.FunctionDef)}


def plain(value: Any) -> Any:
    """`value` as JSON values. A number that is not finite becomes text: JSON has none."""
    if hasattr(value, "tolist"):  # an array, a tensor, or a scalar of either
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
