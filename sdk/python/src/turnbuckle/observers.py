"""Observers: they get what has ended and what has happened, on a thread of their own, and never hold a request."""

from __future__ import annotations

import inspect
import json
import logging
import queue
import threading
import time
from typing import Any, List, Optional, Tuple

from google.protobuf.message import DecodeError

from turnbuckle._pb import coprocess_object_pb2, record_pb2
from turnbuckle.asyncs import Loop
from turnbuckle.plugin import Batch, Plugin

log = logging.getLogger("turnbuckle")
_BATCHES = 1024  # that wait for observers


class Observers:
    """Hands batches to the plugin's observers, one after another. What does not fit is dropped and counted."""

    def __init__(self, plugin: Plugin, loop: Loop) -> None:
        self._plugin, self._loop = plugin, loop
        self._queue: "queue.Queue[Optional[Tuple[List[str], Batch]]]" = queue.Queue(_BATCHES)
        self._dropped = 0
        self._thread: Optional[threading.Thread] = None

    def offer(self, frame: Any) -> None:
        """Takes the records and events of a host frame."""
        self._put(list(frame.observers), Batch(list(frame.records), list(frame.events), frame.dropped))

    def offer_parts(self, raw: Any) -> None:
        """Takes what can be read of the records and events of a host frame that cannot be, as a whole."""
        batch = Batch([], [], raw.dropped)
        for parts, kind, found in ((raw.records, record_pb2.Record, batch.records), (raw.events, record_pb2.Event, batch.events)):
            for part in parts:
                try:
                    found.append(kind.FromString(part))
                except DecodeError:
                    batch.dropped += 1
        if raw.records or raw.events:
            self._put(list(raw.observers), batch)

    def offer_event(self, data: bytes) -> None:
        """Takes an event of Tyk's protocol: for the observer that the handler names, or for all."""
        try:
            payload = json.loads(coprocess_object_pb2.Event.FromString(data).payload)
            message, spec = payload.get("message") or {}, payload.get("spec") or {}
            meta = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (message.get("Meta") or {}).items()}
            event = record_pb2.Event(type=message.get("Type", ""), route=spec.get("APIID", ""), org=spec.get("OrgID", ""),
                                     message=meta.pop("Message", ""), meta=meta)
        except (DecodeError, ValueError, TypeError, AttributeError):
            log.warning("an event of Tyk's protocol cannot be read")
            return
        name = payload.get("handler_name", "")
        self._put([name] if name in self._plugin.observers else [], Batch([], [event], 0))

    def _put(self, names: List[str], batch: Batch) -> None:
        if not self._plugin.observers:
            return
        batch.dropped += self._dropped
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="turnbuckle-observers", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((names, batch))
            self._dropped = 0
        except queue.Full:
            self._dropped = batch.dropped + len(batch.records) + len(batch.events)

    def _serve(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            names, batch = item
            for name, run in self._plugin.observers.items():
                if not names or name in names:
                    self._observe(name, run, batch)

    def _observe(self, name: str, run: Any, batch: Batch) -> None:
        try:
            result = run(batch)
            if inspect.isawaitable(result):
                self._loop.wait(_wait(result))
        except BaseException:
            log.exception("observer %s failed", name)

    def close(self, patience: float = 2.0) -> None:
        """Waits a moment for what is queued to be observed."""
        end = time.monotonic() + patience
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=patience)
            except queue.Full:
                return
            self._thread.join(max(end - time.monotonic(), 0.0))


async def _wait(result: Any) -> Any:
    return await result
