"""tyk.object: the whole of what a hook is called with."""

from __future__ import annotations

from typing import Any

from turnbuckle._pb.coprocess_object_pb2 import Object
from turnbuckle.tyk.modules.request import TykCoProcessRequest


class TykCoProcessObject:
    """An Object, from the message or its bytes, and its parts."""

    def __init__(self, message: Any) -> None:
        self.object = Object.FromString(message) if isinstance(message, bytes) else message
        self.request = TykCoProcessRequest(self.object.request)
        self.session, self.spec = self.object.session, self.object.spec
        self.metadata, self.response = self.object.session.metadata, self.object.response
        self.hook_type, self.hook_name = self.object.hook_type, self.object.hook_name


__all__ = ["TykCoProcessObject"]
