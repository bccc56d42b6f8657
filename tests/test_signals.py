"""What Ctrl-C and a request to end do."""

from __future__ import annotations

import signal
import sys
import time
import weakref

import pytest

from scgeoae._signals import STATUS_OF_SIGNAL, signals_to


class Held:
    """An object that weak references can follow."""


@pytest.mark.parametrize("number", STATUS_OF_SIGNAL)
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_signal_ends_the_program(number: signal.Signals, *, swallowed: bool) -> None:
    """Also one that comes during the callback of a weak reference, where Python ignores exceptions."""
    hook, statuses = sys.unraisablehook, []

    def leave(status: int) -> None:
        statuses.append(status)
        raise SystemExit(status)

    held = Held()
    reference = weakref.ref(held, lambda _: signal.raise_signal(number))
    kept = [held]
    del held

    def program() -> None:
        with signals_to(leave):
            if swallowed:
                kept.clear()
            else:
                signal.raise_signal(number)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                time.sleep(0.01)

    with pytest.raises(SystemExit) as exit_:
        program()
    assert exit_.value.code == STATUS_OF_SIGNAL[number]
    assert statuses == [STATUS_OF_SIGNAL[number]] * (2 if swallowed else 1)
    assert sys.unraisablehook is hook
    assert (reference() is None) == swallowed


def test_other_ignored_exceptions_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    def fail(_: object) -> None:
        raise KeyError

    held = Held()
    reference = weakref.ref(held, fail)
    with signals_to(lambda _: None):
        del held
    assert [found.exc_type for found in ignored] == [KeyError]
    assert reference() is None
    ignored.clear()
