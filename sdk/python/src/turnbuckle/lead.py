"""The thread that leads: it takes work from a source and runs quick hooks one after another, as they come, which is what makes
batches cheap. A watchdog sees when a hook holds it up, and lets another thread lead; hooks found to take long run in threads
from then on, and async hooks on a loop of their own. So no hook stops another, whatever it waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, List, Optional, Tuple

from turnbuckle.asyncs import Loop
from turnbuckle.call import TIMEOUT
from turnbuckle.plugin import Hook
from turnbuckle.threads import SLOW, Threads, is_waiting, watch_closely, watch_hook

log = logging.getLogger("turnbuckle")

_WATCH = 0.010  # seconds a hook may hold the leader up
_AGAIN = 0.001  # seconds after which a thread that only wanted the interpreter's lock has it
_FLUSH = 0.001  # seconds after which replies do not wait for the rest of their batch

Work = Tuple[Callable[..., None], Tuple[Any, ...]]
"""A method of what is led for, with what it is called with besides."""


class Leader:
    """Runs calls. Its source has take(), which waits and returns a list of Work, or None at the end, and is asked by one thread
    at a time. flush() is called by the thread that leads when out, what has ended on it, is to be sent, and finish(calls,
    late) by others with what has ended there."""

    def __init__(self, source: Any, target: Any, flush: Callable[[], None], finish: Callable[..., None], threads: int) -> None:
        self._source, self._target, self._flush, self._finish = source, target, flush, finish
        self._work: Deque[Work] = deque()
        self.pending: Deque[Any] = deque()  # calls that have not begun
        self.out: List[Any] = []  # calls that have ended on the thread that leads
        self.inline = 0.0  # seconds that hooks took on it
        self.over, self.failed = threading.Event(), False
        self.loop = Loop(self._advance, finish)
        self._threads = Threads(threads, self._run_here)
        self._thread = 0  # the one that leads
        self._claim: List[Tuple[Any, Hook]] = []  # what it runs; who takes it away says what comes next
        self._due = 0.0  # when it sends what it has, in the middle of a batch
        self._idle = True  # it waits for work
        self._resting, self._wake = False, threading.Event()

    def start(self) -> None:
        """Begins to lead."""
        self._lead_anew()
        threading.Thread(target=self._watchdog, name="turnbuckle-watchdog", daemon=True).start()

    def _lead_anew(self) -> None:
        self._thread = -1  # nobody, until it runs
        while True:
            try:
                return threading.Thread(target=self._lead, name="turnbuckle-lead", daemon=True).start()
            except RuntimeError:  # the system has no thread to give
                if self.over.wait(0.1):
                    return None

    def _lead(self) -> None:
        self._thread = threading.get_ident()
        try:
            self._flush()  # what the one before had ready
            while self._drain():
                self._idle = True
                work = self._source.take()
                if work is None:
                    break
                self._idle = False  # before it is seen whether the watchdog rests: one sees the other
                if self._resting:
                    self._resting = False
                    self._wake.set()
                self._work.extend(work)
            else:
                return  # another leads
        except BaseException:
            log.exception("the leading thread failed")
            self.failed = True
        self.over.set()

    def _drain(self) -> bool:
        """Does what is to be done. False: this thread does not lead any more."""
        pending, work = self.pending, self._work
        self._due = time.monotonic() + _FLUSH
        while True:
            while pending:
                if not self._lead_call(pending.popleft()):
                    return False
            if not work:
                break
            what, arguments = work.popleft()
            what(self._target, *arguments)
        self._flush()
        return True

    def _lead_call(self, call: Any) -> bool:
        """Runs the hooks of a call on the leading thread, for as long as they may. False: it does not lead any more."""
        hook = call.next()
        while hook is not None:
            if hook.is_async:
                self.loop.submit(call, hook)
                return True
            if hook.threaded:
                self._threads.submit(call, hook)
                return True
            self._claim = claim = [(call, hook)]
            took = watch_hook(call, hook) if hook.suspect else call.run(hook)
            try:
                claim.pop()
            except IndexError:  # it took so long that another thread leads
                if call.waits is not None:
                    self.loop.submit(call, hook)
                else:
                    self._advance(call)
                return False
            self.inline += took
            if took > SLOW and not hook.suspect:
                watch_closely(hook)  # the machine may have been busy with others
            if call.done:
                break
            if call.waits is not None:
                self.loop.submit(call, hook)
                return True
            hook = call.next()
            call.begun = 0.0  # what comes is not the watchdog's yet
        self.out.append(call)
        if call.begun > self._due:
            self._flush()
            self._due = time.monotonic() + _FLUSH
        return True

    def _watchdog(self) -> None:
        idle = 0
        while not self.over.wait(_WATCH):
            claim = self._claim
            running = claim[:]
            if not running:
                idle += 1
                if idle > 100:
                    self._rest()
                    idle = 0
                continue
            idle = 0
            (call, hook), = running
            begun = call.begun
            if not begun or time.monotonic() - begun < _WATCH:
                continue
            stuck = self._thread
            waited = is_waiting(stuck)
            if waited:  # perhaps for the interpreter's lock, which this thread has
                time.sleep(_AGAIN)
            try:
                claim.pop()
            except IndexError:
                continue  # it has ended
            if waited and is_waiting(stuck):
                hook.threaded, hook.calm = True, 0
            else:
                watch_closely(hook)
            self._lead_anew()

    def _rest(self) -> None:
        """Waits, when there is nothing to watch, until there is."""
        self._wake.clear()
        self._resting = True
        if self._idle:
            while not self.over.is_set() and not self._wake.wait(1.0):
                pass
        self._resting = False

    # Running elsewhere.

    def _advance(self, call: Any) -> None:
        """Runs the hooks of a call for as long as they can run on this thread: the loop's, or one that has led."""
        while True:
            hook = call.next()
            if hook is None:
                self._finish([call])
                return
            if hook.is_async:
                self.loop.submit(call, hook)
                return
            if hook.threaded:
                self._threads.submit(call, hook)
                return
            call.run(hook)
            if call.waits is not None:
                self.loop.submit(call, hook)
                return

    def _run_here(self, call: Any, hook: Hook) -> None:
        """Runs a hook, and the plain ones after it, in a thread of the pool."""
        following: Optional[Hook] = hook
        took = 0.0
        while following is not None:
            if call.done:
                break
            if following.is_async:
                self.loop.submit(call, following)
                return
            if call.x.ended:  # while it waited for a thread
                call.begun = 0.0
                call.stop(TIMEOUT, "the deadline passed before the hook ran")
                break
            took = call.run(following)
            if call.waits is not None:
                self.loop.submit(call, following)
                return
            if following.threaded:
                _settle(following, took)
            following = call.next()
        self._finish([call], took > SLOW)


def _settle(hook: Hook, took: float) -> None:
    """Brings a hook back from the threads when it has been quick for long, and for longer each time."""
    if took > SLOW:
        hook.calm = 0
        return
    hook.calm += 1
    if hook.calm >= hook.patience:
        hook.threaded, hook.calm = False, 0
        hook.patience = min(hook.patience * 2, 6_400)
