"""What the commands `tokensphere rerun` and `tokensphere collect` take.

A module of its own, which imports next to nothing: it is read whatever the command is.
"""

from __future__ import annotations

import argparse
from typing import Any

from tokensphere.paper.rerun import BadInput


def add_parsers(commands: Any) -> None:
    """Add both commands to argparse's subparsers."""
    rerun = commands.add_parser("rerun", help="execute chapters with many parameters, in parallel")
    rerun.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="such as setting/flow or flow (default: those of the grid, or all)",
    )
    rerun.add_argument(
        "--grid",
        metavar="FILE",
        help="YAML: for each chapter lists of values by name, whose product is run, or a list of "
        "points such as {seed: 1, draws: 6}",
    )
    rerun.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of every cell",
    )
    rerun.add_argument(
        "--scale", choices=("smoke", "full"), help="of the chapters that have such a parameter"
    )
    rerun.add_argument("--out", metavar="DIR", help="folder of notebooks, index.json, index.html")
    rerun.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="cells that run at once on this machine (default: one a core)",
    )
    rerun.add_argument("--gpus", type=int, metavar="N", help="as many workers, each with one GPU")
    rerun.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a Dask scheduler, such as tcp://10.0.0.1:8786, or its file",
    )
    rerun.add_argument("--timeout", type=float, metavar="S", help="seconds for each cell")
    rerun.add_argument("--dry-run", action="store_true", help="only say what would run, and why")
    rerun.add_argument("--status", metavar="DIR", help="only say what is in a folder")
    rerun.set_defaults(command=_rerun, needs_repository="chapters")

    collect = commands.add_parser("collect", help="a table of what the cells of a batch kept")
    collect.add_argument("folder", metavar="DIR", help="as rerun --out made it")
    collect.add_argument("names", nargs="+", metavar="NAME", help="of values that chapters kept")
    collect.add_argument(
        "--out", metavar="FILE", help="table in .csv or .parquet (default: CSV to standard output)"
    )
    collect.add_argument("--figure", metavar="FILE", help="draw the first NAME: .png, .svg, .pdf")
    collect.add_argument("--against", metavar="PARAMETER", help="along the figure's axis")
    collect.set_defaults(command=_collect, needs_repository="chapters")


def _rerun(arguments: argparse.Namespace) -> int:
    return _call("rerun", arguments)


def _collect(arguments: argparse.Namespace) -> int:
    return _call("collect", arguments)


def _call(name: str, arguments: argparse.Namespace) -> int:
    try:
        from tokensphere.paper.rerun import command

        return getattr(command, name)(arguments)
    except ModuleNotFoundError as error:
        needed = f"{name} needs {error.name}: pip install 'tokensphere[book,batch]'"
        raise BadInput(needed) from None
