"""Loading plugins from files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType
from typing import Any, Dict

from turnbuckle.errors import LoadError
from turnbuckle.plugin import Plugin, from_module
from turnbuckle.probe import version_of_python

_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


def interpreter() -> str:
    """The interpreter as messages name it."""
    return "%s (Python %s)" % (sys.executable, version_of_python())


def failure(path: str, why: str, kind: str = "load", **details: Any) -> LoadError:
    """The error for a plugin that cannot be loaded."""
    at = " (%s, line %d)" % (details["file"], details["line"]) if details.get("line") else ""
    message = "cannot load %s: %s%s; the interpreter is %s" % (path, why, at, interpreter())
    return LoadError(message, kind, interpreter=sys.executable, python=version_of_python(), **details)


def explain(path: str, error: BaseException) -> LoadError:
    """The error for a plugin that raised this while it was loaded."""
    details: Dict[str, Any] = {}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen") and f.filename != __file__]
    if isinstance(error, SyntaxError) and error.filename:
        details.update(file=error.filename, line=error.lineno or 0)
    elif frames:
        details.update(file=frames[-1].filename, line=frames[-1].lineno or 0)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in (__file__, *_IMPORTING):
        trace = trace.tb_next
    details["traceback"] = "".join(traceback.format_exception(type(error), error, trace))[-4096:]
    if isinstance(error, ModuleNotFoundError) and error.name:
        return failure(path, "there is no module %r" % error.name, "missing-module", module=error.name, **details)
    return failure(path, "%s: %s" % (type(error).__name__, error.msg if isinstance(error, SyntaxError) else error), **details)


def module_from(path: str, name: str) -> ModuleType:
    """Runs a file as a module of that name, which it has in sys.modules from before it runs. Raises LoadError."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise failure(path, "it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as e:  # sys.exit too: a plugin that ends the process has not been loaded
        sys.modules.pop(name, None)
        raise explain(path, e) from e
    return module


def module_of(path: str) -> ModuleType:
    """The module of a file in a folder of sys.path, under its own name if that is free; the same as an import of it gives."""
    name = os.path.splitext(os.path.basename(path))[0]
    known = sys.modules.get(name)
    if known is not None and os.path.realpath(getattr(known, "__file__", None) or "") == os.path.realpath(path):
        return known
    if known is not None or not name.isidentifier():
        name = "turnbuckle_plugin_" + "".join(c if c.isalnum() else "_" for c in name)
    return module_from(path, name)


def plugin_from(path: str) -> Plugin:
    """The plugin of a file, or of a folder with a plugin.py. Modules beside it can be imported, also by hooks that run."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "plugin.py")
    if not os.path.exists(path):
        raise failure(path, "there is no such file")
    search(os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    module = module_of(path)
    try:
        return from_module(module, name)
    except (LoadError, TypeError, ValueError) as e:
        raise failure(path, str(e), file=path) from e


def search(*folders: str) -> None:
    """Puts folders in front of sys.path, and what they have in vendor/ behind them."""
    found = []
    library = "python%d.%d" % sys.version_info[:2]
    for folder in folders:
        vendor = os.path.join(folder, "vendor")
        found += [folder, vendor] + [os.path.join(vendor, lib, library, "site-packages") for lib in ("lib", "lib64")]
    found = [f for f in dict.fromkeys(found) if os.path.isdir(f)]
    sys.path[:] = found + [f for f in sys.path if f not in found]
    importlib.invalidate_caches()
