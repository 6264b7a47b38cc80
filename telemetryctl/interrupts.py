"""Ctrl-C that is not lost: what is raised in a finaliser or a callback, such as those of an import,
Python only prints, and a loop would go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether Ctrl-C has come, and nobody has ended for it yet."""

    def __init__(self) -> None:
        self.has_come = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """SIGINT raises KeyboardInterrupt and is remembered, unless it is ignored: a shell without
        job control does that for what it runs in the background."""
        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN:
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def check(self) -> None:
        """Raises KeyboardInterrupt in the main thread when one was raised and lost."""
        if self.has_come and threading.current_thread() is threading.main_thread():
            self.answered()
            raise KeyboardInterrupt

    def answered(self) -> None:
        """It was caught; what is still to be done may call the server."""
        self.has_come = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.has_come = True
        raise KeyboardInterrupt


interrupts = Interrupts()


def die_of_interrupt() -> None:
    """While modules are loaded nothing is to be put in order: Ctrl-C just ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
