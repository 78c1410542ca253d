"""The loop on which async hooks run, in a thread of its own that starts with the first of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, Callable, Coroutine, Deque, Dict, List, Optional, Tuple
from collections import deque

from turnbuckle.call import TIMEOUT
from turnbuckle.plugin import Hook

log = logging.getLogger("turnbuckle")


class Loop:
    """Runs async hooks of calls. submit and cancel are for all threads."""

    def __init__(self, advance: Callable[[Any], None], finish: Callable[[List[Any]], None]) -> None:
        self._advance, self._finish = advance, finish
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._new: Deque[Tuple[Any, Hook]] = deque()
        self._scheduled = False
        self._tasks: Dict[Any, "asyncio.Task[None]"] = {}
        self._ended: List[Any] = []

    def get(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs from now on."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="turnbuckle-loop", daemon=True).start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not loop.is_closed():  # hooks can stop it, and their tasks with sys.exit
            try:
                loop.run_forever()
            except BaseException:
                log.exception("what a hook left on the loop failed")

    def submit(self, call: Any, hook: Hook) -> None:
        """Runs the hook, and what follows it, on the loop."""
        loop = self._loop or self.get()
        self._new.append((call, hook))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._scheduled = False  # before the queue is emptied: what comes later schedules anew
        loop = asyncio.get_running_loop()
        while self._new:
            loop.create_task(self._hook(*self._new.popleft()))

    async def _hook(self, call: Any, hook: Hook) -> None:
        self._tasks[call] = asyncio.current_task()  # type: ignore[assignment]  # a task that is cancelled before it begins never ends
        error: Optional[BaseException] = None
        timer: Optional[asyncio.TimerHandle] = None
        left = call.x.remaining
        if left == 0.0:
            call.stop(TIMEOUT, "the deadline passed before the hook ran")
        elif left is not None:
            timer = asyncio.get_running_loop().call_later(left, self._late, call)
        began = time.monotonic()
        try:
            if not call.done:
                await call.start(hook)
        except BaseException as e:  # a loop would end with sys.exit in a hook
            error = e
        took = time.monotonic() - began
        if timer is not None:
            timer.cancel()
        self._tasks.pop(call, None)
        call.ended(hook, took, error)
        error = None  # it refers to this frame
        if call.done:
            self._collect(call)
        else:
            self._advance(call)

    def _late(self, call: Any) -> None:
        """The deadline of a call has passed."""
        call.stop(TIMEOUT, "the deadline passed")
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()
        self._collect(call)

    def _collect(self, call: Any) -> None:
        """Replies of what ends in one turn of the loop go together."""
        self._ended.append(call)
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        self._finish(ended)

    def cancel(self, call: Any) -> None:
        """Cancels the hook of a call, if one of it is on the loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, call)

    def _cancel(self, call: Any) -> None:
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the loop and waits for it, on another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.get()).result()
