"""gateway: what hooks ask the gateway for."""

from __future__ import annotations

import contextvars
import logging
from typing import Any, Optional, Union

from turnbuckle.exchange import LEVELS
from turnbuckle.storage import store

current: "contextvars.ContextVar[Any]" = contextvars.ContextVar("turnbuckle_tyk_exchange", default=None)
"""The exchange whose hook runs: log lines travel with its reply."""

_log = logging.getLogger("tyk")


class TykGateway:
    """The gateway. Its store is the plugin's own part of it (STORE.md); what it cannot do raises turnbuckle.StoreError."""

    @staticmethod
    def log(message: Any, level: str = "info") -> None:
        """Writes to the gateway's log: debug, info, warning or error."""
        x = current.get()
        known = level if level in LEVELS else "info"
        if x is None:
            _log.log(logging.getLevelName("WARNING" if known == "warn" else known.upper()), "%s", message)
        else:
            x.log(known, str(message))

    @staticmethod
    def log_error(message: Any) -> None:
        """Writes an error to the gateway's log."""
        TykGateway.log(message, "error")

    @staticmethod
    def store_data(key: str, value: Union[str, bytes], ttl: Optional[int] = 0) -> None:
        """Keeps value under key for ttl seconds; for good when ttl is not positive."""
        data = value if isinstance(value, (str, bytes, bytearray, memoryview)) else str(value)
        store.set(key, data, max(0, ttl or 0))

    @staticmethod
    def get_data(key: str) -> bytes:
        """What is under key, empty when nothing."""
        return store.get(key) or b""

    @staticmethod
    def trigger_event(name: str, payload: Any) -> None:
        """Sends an event of that type with payload as its message."""
        store.trigger_event(name, payload if isinstance(payload, str) else str(payload))


__all__ = ["TykGateway"]
