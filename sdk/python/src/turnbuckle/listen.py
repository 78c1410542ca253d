"""The addresses of plugin servers."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any, Optional, Tuple

from turnbuckle.errors import Error

ENVIRONMENT = ("TURNBUCKLE_LISTEN", "TURNBUCKLE_PLUGIN_LISTEN")


class AddressError(Error):
    """An address that cannot be listened on."""


def default_address() -> str:
    """The address that the environment names; empty when it names none."""
    return next((os.environ[name] for name in ENVIRONMENT if os.environ.get(name)), "")


def split(address: str) -> Tuple[str, str]:
    """The kind of an address, unix or tcp, and a path or host:port."""
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        path = path[2:] if path.startswith("//") else path
        if not path:
            raise AddressError("address %r names no socket: want unix:PATH" % address)
        return "unix", path
    target = address[len("tcp://") :] if address.startswith("tcp://") else address
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdigit() or "://" in target or "/" in target:
        raise AddressError("address %r: want unix:PATH, tcp://HOST:PORT or HOST:PORT" % address)
    return "tcp", (host or "[::]") + ":" + port


class Listener:
    """An address that a gRPC server listens on. A socket is made under a name of its own and then moved to where clients look,
    so that nobody connects before its mode holds, and so that one server can take the path over from another."""

    def __init__(self, server: Any, address: str, mode: int = 0o600, takeover: bool = False, credentials: Any = None) -> None:
        self._kind, self._target = split(address)
        self._inode: Optional[int] = None
        self._own = ""
        where = self._target
        if self._kind == "unix":
            _remove_stale(self._target, takeover)
            self._own = "%s.%d" % (self._target, os.getpid())
            _remove_stale(self._own, False)
            where = "unix:" + self._own
        mask = os.umask(0o777 & ~mode)
        try:
            port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        except RuntimeError as e:
            raise AddressError("cannot listen on %s: %s" % (address, e)) from e
        finally:
            os.umask(mask)
        if not port:
            raise AddressError("cannot listen on %s" % address)
        self.address = "unix:" + self._target if self._own else "%s:%d" % (self._target.rpartition(":")[0], port)

    def announce(self) -> None:
        """Moves the socket to its path, once the server serves."""
        if self._own:
            os.replace(self._own, self._target)
            self._inode = os.lstat(self._target).st_ino

    def close(self) -> None:
        """Takes the socket away, unless another server has taken the path over."""
        if self._inode is not None:
            try:
                if os.lstat(self._target).st_ino == self._inode:
                    os.unlink(self._target)
            except OSError:
                pass  # it is gone


def _remove_stale(path: str, takeover: bool) -> None:
    """Takes the socket of a server that has died away, and refuses that of one that lives."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as e:
        raise AddressError("socket %s: %s" % (path, e.strerror)) from e
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError("socket %s: there is something else" % path)
    if takeover:
        return  # replaced when this one serves
    probe = socket.socket(socket.AF_UNIX)
    probe.settimeout(1)
    try:
        probe.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        os.unlink(path)
    except OSError as e:
        raise AddressError("socket %s: %s" % (path, e)) from e
    else:
        raise AddressError("socket %s: another server serves there; takeover would replace it" % path)
    finally:
        probe.close()
