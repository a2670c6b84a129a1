"""Signals that end a command: the first ends it in order, and no later one breaks that off."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

FROM_OUTSIDE = (signal.SIGTERM, signal.SIGHUP)
"""Of a system that shuts down, a terminal that is closed; they reach one process, Ctrl-C all."""


class Ended(KeyboardInterrupt):
    """Ctrl-C, or another signal that ends a command as that does; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else "terminated"


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Raise Ended at the first signal in the block; what then cleans up is not interrupted."""
    received: list[int] = []

    def end(number: int, _: Any) -> None:
        received.append(number)
        if len(received) == 1:
            raise Ended(number)

    with handled((signal.SIGINT, *FROM_OUTSIDE), end):
        yield


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Signals wait until the block's end; Ctrl-C never reaches what is started in it."""
    received: list[int] = []
    try:
        # Blocking it is for children, who inherit that; another thread of ours may still take it.
        with handled((signal.SIGINT, *FROM_OUTSIDE), lambda number, _: received.append(number)):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    finally:
        for number in received[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def handled(numbers: tuple[int, ...], handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle signals in the block, but for those that are ignored, as under nohup."""
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    former = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, handler_before in former.items():
            signal.signal(number, handler_before)
