"""`tokensphere sinks`, and `tokensphere sinks compare`: their options, and how they fail."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tokensphere.cli.errors import InputError

MOST_LAYERS = 100_000
MOST_DIGITS = 20
COMPARE = "sinks compare"
"""The parser's name for what is typed as two words: the first word alone takes a model."""


def renamed(argv: Sequence[str]) -> list[str]:
    """The arguments with the two words of COMPARE as one."""
    return [COMPARE, *argv[2:]] if list(argv[:2]) == COMPARE.split() else list(argv)


def add_to(commands: Any) -> None:
    """Add both to the command's parsers."""
    sinks = commands.add_parser(
        "sinks",
        help="measure the attention sinks of a trained Mamba",
        epilog="tokensphere sinks compare A B ... --out DIR puts several reports on one page. A "
        "model in a folder of the name compare is ./compare.",
    )
    sinks.add_argument(
        "model",
        metavar="MODEL",
        help="a model on the hub, or a local folder as save_pretrained of transformers (weights in "
        "safetensors) or of mamba-ssm writes it; the word typeseg is the model inside the package "
        "typeseg",
    )
    sinks.add_argument(
        "--prompts",
        required=True,
        metavar="FILE",
        help='one prompt a line, or one {"prompt": ...} a line, as in a .jsonl file; - reads the '
        "standard input; blank lines are passed over, repetitions count once; fewer than five "
        "different prompts decide nothing",
    )
    sinks.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for sinks.json, scores.csv, figures and index.html; new, empty, or a former "
        "report, which is replaced",
    )
    sinks.add_argument(
        "--tokenizer",
        metavar="NAME",
        help="a tokenizer on the hub or in a folder (default: the model's own)",
    )
    sinks.add_argument(
        "--bos",
        action=argparse.BooleanOptionalAction,
        help="whether prompts begin with the beginning-of-text token (default: as the tokenizer "
        "has it)",
    )
    sinks.add_argument(
        "--replace-with",
        metavar="TOKEN",
        help="text of a token, or where no token has it an id in digits, to put in place of the "
        "first one, to see whether a sink goes with it; the page says which it was (default: drawn "
        "from the other prompts)",
    )
    sinks.add_argument(
        "--layers",
        default="all",
        metavar="LIST",
        help="Mamba layers to measure, counted from 0, such as 0,5,10 or 0-7, or by their names in "
        "the model (default: all)",
    )
    sinks.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help="channels to draw in each layer (default: all; the paper draws 200)",
    )
    sinks.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)"
    )
    sinks.add_argument(
        "--threshold",
        type=float,
        default=0.3,
        metavar="X",
        help="importance above which a channel has a sink (default: 0.3, as in the paper)",
    )
    sinks.add_argument("--device", metavar="NAME", help="default: cuda where there is one, or cpu")
    sinks.add_argument(
        "--dtype",
        default="auto",
        metavar="NAME",
        help="float32, bfloat16, float16, float64, or auto: as the weights are stored (default)",
    )
    sinks.add_argument(
        "--max-length",
        type=int,
        default=64,
        metavar="N",
        help="tokens to which prompts are cut (default: 64; at the paper's 16 even uniform "
        "attention gives the first token 0.21, near the threshold; time grows with the square)",
    )
    sinks.add_argument(
        "--batch-size",
        type=int,
        default=16,
        metavar="N",
        help="prompts that go through the model at once (default: 16)",
    )
    sinks.add_argument(
        "--ablate",
        action="store_true",
        help="also take the first token out of what each layer reads, and say what changes in the "
        "model's loss and predictions: four runs of the model a layer",
    )
    sinks.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with the model"
    )
    sinks.set_defaults(command=_measure, needs_repository=None)

    compare = commands.add_parser(
        COMPARE, help="put the reports of several models or checkpoints on one page"
    )
    compare.add_argument(
        "reports",
        nargs="+",
        metavar="REPORT",
        help="folders that tokensphere sinks has written, or their sinks.json; at least two",
    )
    compare.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for compare.json, a figure and index.html; new, empty, or a former "
        "comparison, which is replaced",
    )
    compare.set_defaults(command=_compare, needs_repository=None)


def _measure(arguments: argparse.Namespace) -> int:
    options = _options(arguments)
    options["layers"] = _layers(options["layers"])

    def run() -> Any:
        from tokensphere.sinks.report import tool

        return tool.write_report(**options)

    return _print(run, options)


def _compare(arguments: argparse.Namespace) -> int:
    options = _options(arguments)

    def run() -> Any:
        from tokensphere.sinks.report import compare

        return compare.write_comparison(**options)

    return _print(run, options)


def _print(run: Callable[[], Any], options: dict[str, Any]) -> int:
    with _one_line(options):
        print(run())
    return 0


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    found = dict(vars(arguments))
    del found["command"], found["needs_repository"]
    return found


@contextmanager
def _one_line(options: dict[str, Any]) -> Iterator[None]:
    """What the library raises, as the one line that the command says."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = f"sinks needs {error.name}: pip install 'tokensphere[book]'"
        raise InputError(missing if error.name else error) from None
    except ValueError as error:
        name, colon, rest = str(error).partition("\n")[0].partition(":")
        # An option is typed with dashes.
        raise InputError(
            (name.replace("_", "-") if name in options else name) + colon + rest
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise InputError(
            "out of memory: try a smaller --batch-size, --max-length or --channels"
        ) from None


def _out_of_memory(error: BaseException) -> bool:
    import torch

    # On the CPU torch says so only in its text.
    kinds = MemoryError | torch.cuda.OutOfMemoryError
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def _layers(text: str) -> list[int | str] | None:
    """Layers as one writes them: "all" (None), or numbers, ranges and names, between commas."""
    if text == "all":
        return None
    chosen: list[int | str] = []
    for part in (piece.strip() for piece in text.split(",")):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        numbers = (first, last) if dash else (first, first)
        if all(number.isdecimal() for number in numbers):
            # int() refuses thousands of digits in words of its own.
            if any(len(number) > MOST_DIGITS for number in numbers):
                raise InputError(f"layers: got {part!r}, takes numbers below {MOST_LAYERS}")
            if int(numbers[0]) > int(numbers[1]):
                raise InputError(f"layers: got {part!r}, which ends before it starts")
            if int(numbers[1]) >= MOST_LAYERS:
                raise InputError(f"layers: got {part!r}, takes numbers below {MOST_LAYERS}")
            chosen.extend(range(int(numbers[0]), int(numbers[1]) + 1))
        elif part.replace(".", "_").isidentifier():  # a module's name within its model
            chosen.append(part)
        else:
            raise InputError(
                f"layers: got {text!r}, takes all, or such as 0,5,10 or 0-7, or names as the model "
                "has them"
            )
    return chosen
