"""The names that plugins written for Tyk import."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Dict, Optional

_MESSAGES = ("common", "mini_request_object", "object", "response_object", "return_overrides", "session_state")
NAMES: Dict[str, str] = {
    "tyk": "turnbuckle.tyk.modules.package",
    "gateway": "turnbuckle.tyk.modules.gateway",
    **{"tyk." + name: "turnbuckle.tyk.modules." + name for name in ("decorators", "session", "request", "object")},
    **{"coprocess_%s_pb2" % name: "turnbuckle._pb.coprocess_%s_pb2" % name for name in _MESSAGES},
    # One of them has a service; the generated modules of the others are empty, and nothing is missing in them.
    **{"coprocess_%s_pb2_grpc" % name: "turnbuckle._pb.coprocess_object_pb2_grpc" for name in _MESSAGES},
}
"""Our modules by the names that they have for plugins."""


class Finder:
    """Finds modules of NAMES before any file of such a name: two sets of the messages cannot be in one process."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        """The spec of a module of NAMES (see importlib.abc.MetaPathFinder)."""
        if name not in NAMES:
            return None
        return ModuleSpec(name, Finder, origin=NAMES[name], is_package=name == "tyk")  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Has the usual module made, for exec_module to replace."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Puts our module in place of an empty one."""
        sys.modules[module.__name__] = importlib.import_module(NAMES[module.__name__])


def install() -> None:
    """Has the names found, from now on."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
