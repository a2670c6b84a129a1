"""What the command `tokensphere records` takes; it is read whatever the command is."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = commands.add_parser(
        "records", help="list the records of long runs and whether they match the code; renew some"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--renew",
        nargs="+",
        metavar="NAME",
        help="make these anew by the commands listed; an old record stays until the new one is "
        "whole; stopped, the same command goes on where its run can",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of what no package brings, for --renew: see renewals.toml (default: data)",
    )
    parser.set_defaults(command=_records, needs_repository="records")


def _records(arguments: argparse.Namespace) -> int:
    from tokensphere.paper.renewal import command

    return command.records_command(arguments)
