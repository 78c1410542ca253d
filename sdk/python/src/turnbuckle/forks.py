"""Processes that a plugin forks while this one has a loop that signals are for."""

from __future__ import annotations

import os
import signal
import threading

_OURS = (signal.SIGTERM, signal.SIGINT)


class Forks(threading.local):
    """Gives the usual signals back to what this process forks: else it would take no notice of SIGTERM, and tell the loop that
    it has a copy of, which then stops the server. They are kept away until that is done."""

    def __init__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def watch(self) -> None:
        """From now on."""
        os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._forked)

    def _before(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)

    def _after(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _forked(self) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        except ValueError:
            pass  # an interpreter within this one: signals are not its own
        self._after()
