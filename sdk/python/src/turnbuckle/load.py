"""Loading plugins from files."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from types import ModuleType

from turnbuckle.errors import LoadError
from turnbuckle.plugin import Plugin, from_module


def interpreter() -> str:
    """The interpreter as messages name it."""
    return "%s (Python %d.%d.%d)" % (sys.executable, *sys.version_info[:3])


def explain(what: str, error: BaseException) -> LoadError:
    """The error for a plugin that raised this while it was loaded."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        why = "there is no module %r" % error.name
    else:
        why = "%s: %s" % (type(error).__name__, error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    at = " (%s, line %d)" % (frames[-1].filename, frames[-1].lineno or 0) if frames and frames[-1].filename != __file__ else ""
    return LoadError("cannot load %s: %s%s; the interpreter is %s" % (what, why, at, interpreter()))


def module_from(path: str, name: str) -> ModuleType:
    """Runs a file as a module of that name, which it has in sys.modules from before it runs. Raises LoadError."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError("cannot load %s: it is no Python file; the interpreter is %s" % (path, interpreter()))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as e:  # sys.exit too: a plugin that ends the process has not been loaded
        sys.modules.pop(name, None)
        raise explain(path, e) from e
    return module


def plugin_from(path: str) -> Plugin:
    """The plugin of a file, or of a folder with a plugin.py. Modules beside it can be imported, also by hooks that run."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        path = os.path.join(path, "plugin.py")
    if not os.path.exists(path):
        raise LoadError("cannot load %s: there is no such file; the interpreter is %s" % (path, interpreter()))
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = os.path.splitext(os.path.basename(path))[0]
    module = module_from(path, name if name.isidentifier() and name not in sys.modules else "turnbuckle_plugin")
    try:
        return from_module(module, name)
    except (LoadError, TypeError, ValueError) as e:
        raise LoadError("cannot load %s: %s" % (path, e)) from e
