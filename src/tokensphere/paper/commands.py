"""The commands of `tokensphere` that need the repository and have modules of their own.

Imported whatever the command is, so it imports next to nothing.
"""

from typing import Any

from tokensphere.paper.renewal import arguments as renewal
from tokensphere.paper.rerun import arguments as rerun


def add_parsers(commands: Any) -> None:
    """Add them to argparse's subparsers."""
    rerun.add_parsers(commands)
    renewal.add_parser(commands)
