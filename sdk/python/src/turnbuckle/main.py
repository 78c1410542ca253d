"""The command line, and serving from a script."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
from typing import Callable, NoReturn, Optional, Sequence

from turnbuckle import link
from turnbuckle.errors import Error, LoadError
from turnbuckle.forks import Forks
from turnbuckle.listen import ENVIRONMENT, default_address
from turnbuckle.plugin import Plugin
from turnbuckle.pool import own_command
from turnbuckle.probe import WORKER_FD, no_fork_support, report

BROKEN = 70  # the status when hooks cannot be run any more


def serve(plugin: Plugin, address: str = "", workers: Optional[int] = None, threads: Optional[int] = None,
          arguments: Optional[Sequence[str]] = None) -> None:
    """Serves a plugin until SIGTERM or SIGINT, on both protocols, and ends the program. address is unix:PATH, tcp://HOST:PORT or
    HOST:PORT. Flags of the command line (--listen, --workers, ...; see SHIM.md) go before what is given here, and this before the
    environment; arguments are for programs with a command line of their own. The workers are processes that run this
    script again, up to this call; what stands before it should only define the plugin."""
    _logging()
    parser = _parser(bare=True)
    given = {"listen": address, "workers": workers, "threads": threads}
    parser.set_defaults(**{name: value for name, value in given.items() if value})
    args = parser.parse_args(arguments)
    if WORKER_FD in os.environ:
        _work(lambda: plugin, args.threads)
    sys.exit(_serve(args, lambda: plugin))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs python -m turnbuckle and returns the exit status."""
    _logging()
    args = _parser().parse_args(arguments)
    if WORKER_FD in os.environ:
        _work(lambda: _load(args), args.threads)
    return _serve(args, lambda: _load(args))


def _load(args: argparse.Namespace) -> Plugin:
    if args.command == "tyk":
        from turnbuckle.tyk.load import load

        return load(args.folder, args.path)
    from turnbuckle.load import plugin_from

    return plugin_from(args.file)


def _parser(bare: bool = False) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=None if bare else "python -m turnbuckle", description="Serves plugins for Turnbuckle and for gateways that speak Tyk's protocol.")
    if bare:
        _flags(parser)
        return parser
    commands = parser.add_subparsers(dest="command", required=True)
    modern = commands.add_parser("serve", help="serve a plugin written with this package")
    modern.add_argument("file", help="a Python file, or a folder with a plugin.py")
    _flags(modern)
    tyk = commands.add_parser("tyk", help="serve Python plugins written for Tyk, unchanged")
    tyk.add_argument("--folder", required=True, help="the plugin's folder")
    tyk.add_argument("--path", action="append", default=[], help="a file or folder in it, instead of what its manifest lists or middleware.py or all .py files")
    tyk.add_argument("--native", action="store_true", help="offer the native protocol too: batches, and the native replies to failures")
    _flags(tyk)
    return parser


def _flags(parser: argparse.ArgumentParser) -> None:
    env = os.environ.get
    add = parser.add_argument
    add("--listen", default=default_address(), help="unix:PATH, tcp://HOST:PORT or HOST:PORT (%s)" % ENVIRONMENT[0])
    add("--workers", type=int, default=int(env("TURNBUCKLE_WORKERS") or min(4, os.cpu_count() or 1)), help="processes that run hooks; 1: the server does")
    add("--apart", action="store_true", help="run hooks in worker processes also when there is one")
    add("--threads", type=int, default=int(env("TURNBUCKLE_THREADS") or 64), help="threads of each for hooks that take long")
    add("--linger", type=float, default=2.0, help="seconds that hosts have to move to another server when this one stops")
    add("--grace", type=float, default=10.0, help="seconds that calls have to end then")
    add("--max-message", type=int, default=4 << 20, help="bytes of a message received")
    add("--socket-mode", default="0600", help="permissions of a unix socket, octal")
    add("--takeover", action="store_true", help="take the address over from a server that still runs")
    add("--tls-cert", default=env("TURNBUCKLE_PLUGIN_TLS_CERT", ""))
    add("--tls-key", default=env("TURNBUCKLE_PLUGIN_TLS_KEY", ""))
    add("--tls-client-ca", default=env("TURNBUCKLE_PLUGIN_TLS_CLIENT_CA", ""), help="certificates of who may connect")


def _serve(args: argparse.Namespace, load: Callable[[], Plugin]) -> int:
    no_fork_support()
    from turnbuckle.local import Local
    from turnbuckle.pool import Pool
    from turnbuckle.server import Broken, Options, run  # workers do without gRPC

    if not args.listen:
        print("turnbuckle: no address to listen on: give --listen or set %s" % ENVIRONMENT[0], file=sys.stderr)
        return 2
    if args.workers < 1 or args.threads < 1:
        print("turnbuckle: there is at least one worker, with one thread", file=sys.stderr)
        return 2
    protocols = ("tyk",) if getattr(args, "command", "") == "tyk" and not args.native else ("native", "tyk")
    options = Options(
        address=args.listen, protocols=protocols, linger=args.linger, grace=args.grace, max_message=args.max_message,
        socket_mode=int(args.socket_mode, 8), takeover=args.takeover, tls_cert=args.tls_cert, tls_key=args.tls_key,
        tls_client_ca=args.tls_client_ca,
    )
    try:
        if args.workers > 1 or args.apart:
            asyncio.run(run(lambda: Pool(own_command(), args.workers), options))
            return 0
        Forks().watch()
        plugin = load()
        _settle()
        asyncio.run(run(lambda: Local(plugin, args.threads), options))
        end_process(0)
    except LoadError as e:
        details = dict(e.details)
        sys.stderr.write(details.pop("traceback", ""))
        print("turnbuckle: %s" % e, file=sys.stderr)
        report(e.kind, str(e), **details)
        end_process(3)  # threads that the plugin has started are no reason to stay
    except (Error, OSError) as e:
        print("turnbuckle: %s" % e, file=sys.stderr)
        report("address", str(e))
        end_process(1)
    except Broken as e:
        print("turnbuckle: %s" % e, file=sys.stderr)
        end_process(BROKEN)


def _work(load: Callable[[], Plugin], threads: int) -> None:
    """Is a worker until the distributing process ends it. Does not return."""
    from turnbuckle.worker import Worker

    sock = socket.socket(fileno=int(os.environ.pop(WORKER_FD)))
    os.set_inheritable(sock.fileno(), False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the distributing process ends its workers
    # Supervisors send it to all processes of a service. Not SIG_IGN, which programs that the plugin starts would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    Forks().watch()
    _die_with_parent()
    try:
        plugin = load()
    except LoadError as e:
        sock.sendall(link.pack(link.BROKEN, json.dumps({"message": str(e), "kind": e.kind, **e.details}).encode()))
        end_process(1)
    _settle()
    end_process(0 if Worker(plugin, sock, threads).run() else BROKEN)


def _settle() -> None:
    """The plugin is loaded: that stays."""
    gc.collect()
    gc.freeze()


def end_process(status: int) -> NoReturn:
    """Ends the process, hooks that still run included."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)


def _die_with_parent() -> None:
    """Ends this process when the distributing one ends, whatever a hook does then (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass  # the end of the socket is noticed as well


def _logging() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
