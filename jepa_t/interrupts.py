"""Ctrl-C where Python would lose it."""

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LATER = 0.05  # seconds


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Let a Ctrl-C that comes while an object is finalised act a moment later.

    No exception gets out of a finaliser: Python shows its traceback, and goes on as if nobody had pressed the keys.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _interrupt_later()
        else:
            before(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_later() -> None:
    timer = threading.Timer(LATER, _interrupt)
    timer.daemon = True
    timer.start()


def _interrupt() -> None:
    """Ctrl-C for the main thread, also where it waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
