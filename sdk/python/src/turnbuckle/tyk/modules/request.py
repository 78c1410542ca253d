"""tyk.request: the request that hooks are given."""

from __future__ import annotations

from typing import Any, Optional


class TykCoProcessRequest:
    """A request. object is the message itself, a MiniRequestObject."""

    __slots__ = ("object", "__dict__")

    def __init__(self, request: Any) -> None:
        self.object = request

    def add_header(self, key: str, value: str) -> None:
        """Has a header set."""
        self.object.set_headers[key] = value

    def delete_header(self, key: str) -> None:
        """Has a header deleted."""
        self.object.delete_headers.append(key)

    def add_param(self, key: str, value: str) -> None:
        """Has a parameter of the query set."""
        self.object.add_params[key] = value

    def delete_param(self, key: str) -> None:
        """Has a parameter of the query deleted."""
        self.object.delete_params.append(key)

    def get_header(self, key: str) -> Optional[str]:
        """A header by its canonical name, spelled exactly; None when there is none."""
        headers = self.object.headers
        return headers[key] if key in headers else None


__all__ = ["TykCoProcessRequest"]
