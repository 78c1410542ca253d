"""What an author writes: hooks, observers, and what they need."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Awaitable, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, TypeVar, Union

from turnbuckle._pb import plugin_pb2 as pb
from turnbuckle.errors import LoadError
from turnbuckle.exchange import PHASES, Exchange

HookFunction = Callable[[Exchange], Union[None, Awaitable[None], Any]]
F = TypeVar("F", bound=Callable[..., Any])

NEEDS = ("headers", "query", "body", "response_headers", "response_body", "session", "values", "peer", "trace", "nothing")
"""What a hook can ask for, by their bits in Needs.fields."""
_DEFAULT = sum(1 << NEEDS.index(n) for n in ("headers", "query", "response_headers", "session", "values", "trace"))
_MARK = "__turnbuckle__"


@dataclass
class Batch:
    """What an observer gets: records of exchanges that have ended and events, messages of plugin/v1/record.proto, and how
    many were dropped since the last batch."""

    records: List[Any] = field(default_factory=list)
    events: List[Any] = field(default_factory=list)
    dropped: int = 0


@dataclass
class Hook:
    """A hook of a plugin. phase is a number of PHASES, 0 for any."""

    name: str
    phase: int
    run: HookFunction
    fields: int = 0
    header_names: Tuple[str, ...] = ()
    body_limit: int = 0
    dispatch: Optional[Callable[[Any, Exchange], Any]] = None  # for Tyk's plugins: runs on a coprocess Object instead
    is_async: bool = False
    threaded: bool = False  # calls of it run in threads, because one took long
    suspect: int = 0  # how many more calls are watched closely
    strikes: int = 0  # in how many of these it has waited
    calm: int = 0  # how many calls in threads in a row were quick
    patience: int = 200  # how many of these bring it back


def needs_bits(needs: Iterable[str]) -> int:
    """The bits for names of NEEDS and "default"."""
    bits = 0
    for name in (needs,) if isinstance(needs, str) else needs:
        if name == "default":
            bits |= _DEFAULT
        elif name in NEEDS:
            bits |= 1 << NEEDS.index(name)
        else:
            raise LoadError('no such need: %r: want "default" or some of %s' % (name, ", ".join(NEEDS)))
    return bits


def phase_number(phase: Optional[str]) -> int:
    """The number of a phase, 0 for None."""
    if phase is None or phase == "any":
        return 0
    if phase not in PHASES[1:]:
        raise LoadError("no such phase: %r: want one of %s" % (phase, ", ".join(PHASES[1:])))
    return PHASES.index(phase)


class Plugin:
    """Hooks and observers by name. A hook is a function, or an async function, of an Exchange; what it returns is ignored,
    and when it raises its changes are undone and its policy decides. An observer is a function of a Batch."""

    def __init__(self, name: str = "plugin", version: str = "", config_schema: Union[None, str, Mapping[str, Any]] = None) -> None:
        self.name, self.version = name, version
        if isinstance(config_schema, str):
            json.loads(config_schema)
        self.config_schema = "" if config_schema is None else config_schema if isinstance(config_schema, str) else json.dumps(config_schema)
        self.hooks: Dict[Tuple[str, int], Hook] = {}
        self.observers: Dict[str, Callable[[Batch], Any]] = {}

    def add(self, run: HookFunction, name: str = "", phase: Optional[str] = None, needs: Iterable[str] = (),
            headers: Iterable[str] = (), body_limit: int = 0) -> None:
        """Adds a hook. Without a phase it can be used in any; needs name what it reads, by default all but bodies and
        certificates; headers bounds "headers" to lines of these names; body_limit bounds bodies, in bytes."""
        name = name or run.__name__
        number = phase_number(phase)
        if (name, number) in self.hooks:
            raise LoadError("two hooks are called %s in phase %s" % (name, phase or "any"))
        function = run if inspect.isfunction(run) or inspect.ismethod(run) else getattr(run, "__call__", run)
        self.hooks[name, number] = Hook(name, number, run, needs_bits(needs), tuple(headers), int(body_limit),
                                        is_async=inspect.iscoroutinefunction(function))

    def hook(self, phase: Union[None, str, HookFunction] = None, *, name: str = "", needs: Iterable[str] = (),
             headers: Iterable[str] = (), body_limit: int = 0) -> Any:
        """A decorator: @plugin.hook, @plugin.hook("post", needs=["headers", "body"])."""
        if callable(phase):
            self.add(phase)
            return phase

        def register(run: F) -> F:
            self.add(run, name, phase, needs, headers, body_limit)
            return run

        return register

    def observer(self, run: F) -> F:
        """A decorator for a function, or async function, of a Batch."""
        self.observers[run.__name__] = run
        return run

    def find(self, name: str, phase: int) -> Optional[Hook]:
        """The hook of that name for the phase, before one for any."""
        return self.hooks.get((name, phase)) or self.hooks.get((name, 0))

    def describe(self) -> Any:
        """What the server tells hosts of the plugin, a DescribeReply."""
        reply = pb.DescribeReply(name=self.name, version=self.version, minor=0, config_schema=self.config_schema.encode())
        for hook in self.hooks.values():
            one = reply.hooks.add(name=hook.name, phase=hook.phase)
            if hook.fields or hook.header_names or hook.body_limit:
                fields = hook.fields or _DEFAULT
                one.needs.fields, one.needs.body_limit = fields, hook.body_limit
                one.needs.header_names.extend(hook.header_names)
        reply.observers.extend(self.observers)
        return reply


def hook(phase: Union[None, str, HookFunction] = None, *, name: str = "", needs: Iterable[str] = (),
         headers: Iterable[str] = (), body_limit: int = 0) -> Any:
    """Marks a function of a module that is served as a file (python -m turnbuckle serve FILE) as a hook: @hook,
    @hook("post", needs=["headers", "body"])."""
    if callable(phase):
        setattr(phase, _MARK, dict(phase=None))
        return phase

    def mark(run: F) -> F:
        setattr(run, _MARK, dict(name=name, phase=phase, needs=needs, headers=headers, body_limit=body_limit))
        return run

    return mark


def observer(run: F) -> F:
    """Marks a function of a module that is served as a file as an observer."""
    setattr(run, _MARK, "observer")
    return run


def from_module(module: ModuleType, name: str) -> Plugin:
    """The plugin of a module: the one Plugin object it has; else its functions called as a phase, those that `hooks` names,
    those marked with hook and observer, and with config_schema and version."""
    found = [v for v in vars(module).values() if isinstance(v, Plugin)]
    if found:
        if any(v is not found[0] for v in found):
            raise LoadError("the module has several Plugin objects: want one")
        return found[0]
    plugin = Plugin(getattr(module, "name", name), str(getattr(module, "version", "")), getattr(module, "config_schema", None))
    declared = dict(getattr(module, "hooks", {}))
    for key, value in vars(module).items():
        mark = getattr(value, _MARK, None) if callable(value) else None
        if mark == "observer":
            plugin.observers[key] = value
        elif mark is not None:
            plugin.add(value, **{**mark, "name": mark.get("name") or key})
        elif callable(value) and (key in PHASES[1:] or key in declared):
            says = {"phase": key if key in PHASES[1:] else None, **declared.get(key, {})}
            plugin.add(value, key, **says)
        declared.pop(key, None)
    if declared:
        raise LoadError("hooks names functions that the module does not have: %s" % ", ".join(sorted(declared)))
    for key, value in dict(getattr(module, "observers", {})).items():
        plugin.observers[key] = value
    if not plugin.hooks and not plugin.observers:
        raise LoadError("the module has no hooks: want functions called %s, functions marked with @turnbuckle.hook, or a turnbuckle.Plugin"
                        % ", ".join(PHASES[1:]))
    return plugin
