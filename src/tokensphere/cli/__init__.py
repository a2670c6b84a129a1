"""The command `tokensphere`: run a chapter, check the ledger's claims, measure a model's sinks.

Exit codes: 0 done; 1 a claim not confirmed, or a chapter that failed; 2 bad input.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tokensphere.cli import completion, sinks
from tokensphere.cli.errors import InputError, one_line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse would print its usage above the message: the one line that matters, second.
        raise InputError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` defaults to the process's arguments."""
    try:
        argv = sys.argv[1:] if argv is None else argv
        for given in argv:
            if given != given.encode(errors="ignore").decode():
                raise InputError(f"argument {given!r} is not UTF-8")
            if "\0" in given:
                raise InputError(f"argument {given!r} holds a NUL, which no name of a file does")
        parser = _parser()
        completion.offer(parser)
        arguments = parser.parse_args(sinks.renamed(argv))
        if arguments.needs_repository and not _in_a_checkout():
            raise InputError(
                f"{arguments.needs_repository} come with the repository, not with the installed "
                "library: run this in a checkout, installed by pip install -e"
            )
        code = arguments.command(arguments)
        # Here, so that a closed pipe shows while it can be caught.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; let it do so into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell reports a program that SIGPIPE ended
    except OSError as error:  # a file that cannot be read or written; its text names it
        return _complain(error, 2)
    except ValueError as error:
        if isinstance(error, _refusals()):
            return _complain(error, 2)
        raise
    except KeyboardInterrupt as interrupt:
        # Of the paper's commands other signals end so too, and are named.
        number = getattr(interrupt, "number", signal.SIGINT)
        return _complain(str(interrupt) or "interrupted", 128 + number)


def _in_a_checkout() -> bool:
    return importlib.util.find_spec("tokensphere.paper") is not None


def _refusals() -> tuple[type[ValueError], ...]:
    if not _in_a_checkout():
        return (InputError,)
    from tokensphere.paper import Refusal

    return InputError, Refusal


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tokensphere",
        description="Run the chapters of the book, check its claims, measure sinks.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    run = commands.add_parser("run", help="execute a chapter, with parameters of your own")
    run.add_argument("chapter", metavar="CHAPTER", help="such as setting/flow, flow, or a file.md")
    run.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="replace a value of the chapter's parameters cell; VALUE is a YAML scalar",
    )
    run.add_argument(
        "--out", metavar="FILE", help="executed notebook (default: CHAPTER's last part.ipynb)"
    )
    run.set_defaults(command=_run, needs_repository="chapters")

    claims = commands.add_parser("claims", help="show the ledger of statements, or check them")
    claims.add_argument(
        "--check",
        action="append",
        metavar="ID",
        help="check this statement; may be given again; 'all' checks every one",
    )
    claims.add_argument("--json", action="store_true", help="print one JSON document")
    claims.add_argument("--seed", type=int, metavar="N", help="seed of the checks (default: 0)")
    claims.set_defaults(command=_claims, needs_repository="statements and their checks")

    sinks.add_to(commands)

    if _in_a_checkout():
        from tokensphere.paper.commands import add_parsers

        add_parsers(commands)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from tokensphere.paper import chapters, signals

    try:
        from tokensphere.paper.rerun import grid

        source = chapters.find(arguments.chapter)
        parameters = grid.parameters(arguments.parameters)
        output = Path(f"{source.stem}.ipynb") if arguments.out is None else arguments.out
        with signals.ending():
            output = chapters.run(source, parameters, output)
    except chapters.ChapterFailed as error:
        return _complain(error, 1)
    except ModuleNotFoundError as error:
        raise InputError(f"a chapter needs {error.name}: pip install 'tokensphere[book]'") from None
    print(output)
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    if arguments.seed is not None and not arguments.check:
        raise InputError("--seed is for --check, which is missing")

    if not -(2**63) <= (arguments.seed or 0) < 2**64:
        raise InputError(f"--seed: got {arguments.seed}, takes an integer of 64 bits")

    from tokensphere.paper import ledger

    claims = ledger.ledger()
    if not arguments.check:
        if arguments.json:
            _print_json({"claims": [_claim(claim) for claim in claims.values()]})
        else:
            _print_table(list(claims.values()))
        return 0

    seed = arguments.seed or 0
    confirmed = True
    reports = []
    for identity in _progress(_selected(arguments.check, claims)):
        report = _check(claims[identity], seed)
        confirmed = confirmed and report["confirmed"]
        if arguments.json:
            reports.append(report)
        else:
            _print_report(report)
    if arguments.json:
        _print_json({"seed": seed, "claims": reports})
    return 0 if confirmed else 1


def _selected(asked: list[str], ledger: dict[str, Any]) -> list[str]:
    if "all" in asked:
        return list(ledger)
    for identity in asked:
        if identity not in ledger:
            close = difflib.get_close_matches(identity, ledger)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise InputError(f"no claim {identity!r}{hint}")
    return list(dict.fromkeys(asked))


def _check(claim: Any, seed: int) -> dict[str, Any]:
    from tokensphere.paper import ledger

    report = _claim(claim)
    try:
        outcome = ledger.run(claim, seed)
    except Exception as error:
        # A check that breaks confirms nothing, and must not keep the others from being run.
        return report | {"confirmed": False, "error": f"{type(error).__name__}: {error}"}
    evidence = {
        role: {
            "passed": found.passed,
            "must_pass": claim.expected[role],
            "criteria": [ledger.plain(vars(criterion)) for criterion in found.criteria],
            "numbers": ledger.plain(found.numbers),
        }
        for role, found in outcome.evidence.items()
    }
    return report | {
        "confirmed": outcome.confirmed,
        "seconds": round(outcome.seconds, 3),
        "evidence": evidence,
    }


def _claim(claim: Any) -> dict[str, Any]:
    texts = ("id", "paper", "where", "statement", "verdict", "correction", "power", "remains")
    checks = {
        role: {"check": f"{check.module}.{check.name}", "arguments": dict(check.arguments)}
        for role, check in claim.checks.items()
    }
    return {name: getattr(claim, name) for name in (*texts, "chapter")} | {"checks": checks}


def _progress(identities: list[str]) -> Any:
    from tqdm import tqdm

    # disable=None: a bar on a terminal only. Printing above a bar breaks it unless it is cleared.
    return tqdm(identities, desc="claims", unit="claim", disable=None, leave=False, file=sys.stderr)


def _print_table(ledger: list[Any]) -> None:
    titles = ("id", "where", "verdict")
    rows = [titles, *((claim.id, claim.where, claim.verdict) for claim in ledger)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    room = max(30, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 6)
    statements = ["statement", *(_short(claim.statement, room) for claim in ledger)]
    for row, statement in zip(rows, statements, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([*cells, statement]))


def _print_report(report: dict[str, Any]) -> None:
    from tqdm import tqdm

    said = "confirmed" if report["confirmed"] else "NOT CONFIRMED"
    if "error" in report:
        lines = [f"{report['id']}: {report['verdict']}, {said}: {_short(report['error'], 200)}"]
    else:
        lines = [f"{report['id']}: {report['verdict']}, {said} ({report['seconds']:.2f} s)"]
        for role, found in report["evidence"].items():
            lines += [f"  {_role(role, found['passed'], found['must_pass'])}"]
            for criterion in found["criteria"]:
                mark = "+" if criterion["met"] else "-"
                value = _show(criterion["value"])
                lines.append(
                    f"    {mark} {criterion['what']}: {value}, must be {criterion['must']}"
                )
            if found["numbers"]:
                numbers = [f"{key}: {_show(value)}" for key, value in found["numbers"].items()]
                lines.append(f"      with {'; '.join(numbers)}")
    tqdm.write("\n".join(lines), file=sys.stdout)


def _role(role: str, passed: bool, must_pass: bool) -> str:
    """What a check's result means: a control that does not pass has done its work."""
    if role == "control":
        return "control, made wrong on purpose: " + ("NOT rejected" if passed else "rejected")
    result = "passes" if passed else "fails"
    return f"as {role}: {result}" + ("" if passed == must_pass else ", which it must not")


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, allow_nan=False))


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_show(item) for item in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder=" ...")


def _version() -> str:
    try:
        return importlib.metadata.version("tokensphere")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _complain(message: object, code: int) -> int:
    print(f"tokensphere: {one_line(message)}", file=sys.stderr)
    return code
