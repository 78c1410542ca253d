"""Loading plugins written for Tyk: a folder, and which of its files."""

from __future__ import annotations

import inspect
import json
import logging
import os
from typing import Any, Callable, List, Sequence

from turnbuckle.load import failure, module_of, search
from turnbuckle.plugin import Batch, Hook, Plugin, needs_bits
from turnbuckle.tyk import names
from turnbuckle.tyk.hooks import Runner
from turnbuckle.tyk.modules.decorators import MARK, Mark

log = logging.getLogger("turnbuckle")
_MOST_MANIFEST = 1 << 20
_FIELDS = needs_bits(("headers", "query", "body", "response_headers", "response_body", "session"))


def load(folder: str, paths: Sequence[str] = ()) -> Plugin:
    """The plugin of a folder. paths name files or folders in it; none: what the folder's manifest says, or the folder itself.
    Raises LoadError."""
    folder = os.path.abspath(folder)
    if not os.path.isdir(folder):
        raise failure(folder, "there is no such folder")
    names.install()
    files: List[str] = []
    for path in paths or [""]:
        files += _files(folder, os.path.join(folder, path))
    plugin = Plugin(os.path.basename(folder))
    for file in dict.fromkeys(files):
        search(os.path.dirname(file), folder)
        _collect(plugin, vars(module_of(file)), file)
    if not plugin.hooks and not plugin.observers:
        raise failure(folder, "there are no hooks in %s: want functions with @Hook of tyk.decorators" % ", ".join(_relative(folder, files)))
    return plugin


def _relative(folder: str, files: Sequence[str]) -> List[str]:
    return [os.path.relpath(f, folder) for f in files]


def _files(folder: str, path: str) -> List[str]:
    """The files that a path means."""
    path = os.path.normpath(path)
    if not os.path.exists(path) and os.path.isfile(path + ".py"):
        path += ".py"
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise failure(path, "there is no such file")
    listed = _manifest(os.path.join(path, "manifest.json"))
    found = [os.path.join(path, f) for f in (sorted(os.listdir(path)) if listed is None else listed) if f.endswith(".py")]
    entry = os.path.join(path, "middleware.py")
    if entry in map(os.path.normpath, found):
        return [entry]
    for file in found:
        if not os.path.isfile(file):
            raise failure(file, "the manifest lists it, but there is no such file")
    if not found:
        raise failure(path, "there are no Python files in it")
    return [os.path.normpath(f) for f in found]


def _manifest(path: str) -> Any:
    """The file_list of a manifest; None without one."""
    try:
        with open(path, "rb") as f:
            text = f.read(_MOST_MANIFEST)
    except OSError:
        return None
    try:
        listed = json.loads(text).get("file_list")
    except (ValueError, AttributeError) as e:
        raise failure(path, "the manifest cannot be read: %s" % e) from e
    if not isinstance(listed, list) or not all(isinstance(f, str) for f in listed):
        return None
    return listed or None


def _collect(plugin: Plugin, contents: Any, file: str) -> None:
    """Adds the hooks of a module."""
    for name, value in list(contents.items()):
        try:
            mark = getattr(value, MARK, None)
        except Exception:  # an object with attributes of its own ideas is no hook
            continue
        if not isinstance(mark, Mark):
            continue
        for known in dict.fromkeys((getattr(value, "__name__", name), name)):
            if mark.kind == "event":
                plugin.observers[known] = _observer(value, mark.arguments)
            else:
                _add(plugin, known, value, mark.arguments, file)


def _add(plugin: Plugin, name: str, function: Callable[..., Any], arguments: int, file: str) -> None:
    there = plugin.hooks.get((name, 0))
    if there is not None and there.run.__self__.function is not function:  # type: ignore[union-attr]
        log.warning("%s: hook %s takes the place of another of that name", file, name)
    if arguments not in (3, 4, 5):
        log.warning("%s: hook %s has %s parameters: calls of it will fail; want 3, 4 or 5", file, name, "any number of" if arguments < 0 else arguments)
    runner = Runner(name, function, arguments)
    plugin.hooks[name, 0] = Hook(name, 0, runner.run, _FIELDS, dispatch=runner.dispatch, is_async=inspect.iscoroutinefunction(function))


def _observer(function: Callable[..., Any], arguments: int) -> Callable[[Batch], Any]:
    """Gives a function of an event, and perhaps a spec, the events of a batch."""

    def observe(batch: Batch) -> None:
        for event in batch.events:
            payload = {"type": event.type, "message": event.message, "meta": dict(event.meta)}
            function(*(payload, {"APIID": event.route, "OrgID": event.org})[: 2 if arguments < 0 else arguments])

    return observe
