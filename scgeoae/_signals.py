"""What Ctrl-C and a request to end do."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATUS_OF_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit status of a program that ends by a signal."""


@contextmanager
def signals_to(leave: Callable[[int], Any]) -> Iterator[None]:
    """Call ``leave`` with the exit status on SIGINT (Ctrl-C) and SIGTERM.

    A `SystemExit` that ``leave`` raises ends the program also if the signal comes during a callback of a weak reference
    or a destructor, where Python ignores exceptions: the signal is then repeated.
    """
    before: dict[signal.Signals, Any] = {}
    hook = sys.unraisablehook
    if threading.current_thread() is threading.main_thread():
        for number, status in STATUS_OF_SIGNAL.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and a shell's & set this
                before[number] = signal.signal(number, lambda *_, status=status: leave(status))
    number_of = {STATUS_OF_SIGNAL[number]: number for number in before}

    def repeat(ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, SystemExit) and ignored.exc_value.code in number_of:
            threading.Timer(0.01, interrupt_main, [number_of[ignored.exc_value.code]]).start()
        else:
            hook(ignored)

    if before:
        sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
