"""What a shell completes after `tokensphere`: argcomplete's work, where it is installed.

    pip install 'tokensphere[completion]'
    eval "$(register-python-argcomplete tokensphere)"      # bash and zsh, in their start-up files
    register-python-argcomplete --shell fish tokensphere | source

The shell runs the command itself, with a variable set, so nothing is to be renewed after an update.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

Completer = Callable[..., list[str]]


def offer(parser: argparse.ArgumentParser) -> None:
    """Ends the process with completions, where a shell asks for them; else does nothing."""
    if "_ARGCOMPLETE" not in os.environ or importlib.util.find_spec("argcomplete") is None:
        return
    import argcomplete

    for name, command in _commands(parser).items():
        for action in command._actions:
            completer = COMPLETERS.get((name, action.dest))
            if completer is not None:
                action.completer = completer  # type: ignore[attr-defined]  # where it looks
    argcomplete.autocomplete(parser)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def _statements(**_: Any) -> list[str]:
    from tokensphere.paper import ledger

    return ["all", *ledger.ledger()]


def _records(**_: Any) -> list[str]:
    from tokensphere.paper.renewal import table

    return list(table.renewals())


def _chapters(**_: Any) -> list[str]:
    from tokensphere.paper import chapters

    return list(chapters.pages(chapters.book_folder()))


COMPLETERS: dict[tuple[str, str], Completer] = {
    ("claims", "check"): _statements,
    ("records", "renew"): _records,
    ("rerun", "chapters"): _chapters,
    ("run", "chapter"): _chapters,
}
"""What the options take whose values are names of the repository, by command and option."""
