"""What Ctrl-C and a request to end do."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATUS_OF_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit status of a program that ends by a signal."""


@contextmanager
def signals_to(leave: Callable[[int], Any]) -> Iterator[None]:
    """Call ``leave`` with the exit status on SIGINT (Ctrl-C) and SIGTERM."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, status in STATUS_OF_SIGNAL.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and a shell's & set this
                before[number] = signal.signal(number, lambda *_, status=status: leave(status))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
