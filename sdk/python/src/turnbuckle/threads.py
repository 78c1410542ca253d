"""Threads for hooks that take long, and how these are told from hooks that a busy machine held up."""

from __future__ import annotations

import resource
import threading
import time
from queue import SimpleQueue
from typing import Any, Callable, Optional, Tuple

from turnbuckle.plugin import Hook

SLOW = 0.001
"""Seconds after which a hook counts as one that takes long."""


class Threads:
    """Up to a number of threads that run hooks of calls, started when they are needed."""

    def __init__(self, limit: int, run: Callable[[Any, Hook], None]) -> None:
        self._limit, self._run = limit, run
        self._queue: SimpleQueue[Tuple[Any, Hook]] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0  # threads
        self._work = 0  # hooks that run or wait for a thread

    def submit(self, call: Any, hook: Hook) -> None:
        """Has a thread run the hook."""
        with self._lock:
            self._work += 1
            if self._work > self._count < self._limit:
                try:
                    threading.Thread(target=self._serve, name="turnbuckle-hook-%d" % (self._count + 1), daemon=True).start()
                    self._count += 1
                except RuntimeError:  # the system has none to give: those that there are have to do
                    if not self._count:
                        raise
        self._queue.put((call, hook))

    def _serve(self) -> None:
        while True:
            call, hook = self._queue.get()
            self._run(call, hook)
            with self._lock:
                self._work -= 1
            del call


def usage() -> resource.struct_rusage:
    """What this thread has used; where the system does not tell, what the process has."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))


def watch_closely(hook: Hook) -> None:
    """Has the next calls of a hook watched, of which one took long."""
    if not hook.suspect:
        hook.strikes = 0
    hook.suspect = 16


def watch_hook(call: Any, hook: Hook) -> float:
    """Runs a hook that took long once, and moves it to the threads if it does so by itself again: by computing, or twice by
    waiting, for one wait may be for the interpreter's lock. Returns the seconds it took."""
    before, began = usage(), time.thread_time()
    took: float = call.run(hook)
    hook.suspect = max(hook.suspect - 1, 0)  # another thread that led may have settled it
    if took > SLOW:
        computed = time.thread_time() - began  # exact, where what getrusage says may come in ticks of the kernel
        hook.strikes += usage().ru_nvcsw > before.ru_nvcsw
        if computed > SLOW or hook.strikes > 1:
            hook.threaded, hook.calm, hook.suspect = True, 0, 0
    return took


def is_waiting(thread: int) -> bool:
    """Whether a thread waits, for something other than a processor. Where that cannot be told: yes."""
    native: Optional[int] = next((t.native_id for t in threading.enumerate() if t.ident == thread), None)
    try:
        with open("/proc/self/task/%d/stat" % (native or 0)) as f:
            return f.read().rpartition(")")[2].split()[0] in "SD"
    except OSError:
        return True
