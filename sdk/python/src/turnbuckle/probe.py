"""Whether an interpreter will do. It needs nothing but what every Python has."""

import json
import os
import re
import sys
from typing import Any, Dict, List, Tuple

OLDEST = {"python": (3, 9), "grpc": (1, 51), "protobuf": (3, 20)}
UNFIT = 4
"""The exit status of an interpreter that will not do."""
WORKER_FD = "TURNBUCKLE_WORKER_FD"
"""The variable that makes a process a worker."""


def report(*error: Any, **details: Any) -> None:
    """Writes the line for programs (SHIM.md) to the standard error."""
    text = json.dumps(dict(zip(("kind", "message"), error), **{k: v for k, v in details.items() if v not in (None, "", 0)}))
    sys.stderr.write("turnbuckle-error %s\n" % text)
    sys.stderr.flush()


def version_of_python() -> str:
    """The version of this interpreter."""
    return "%d.%d.%d" % sys.version_info[:3]


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def no_fork_support() -> None:
    """Has gRPC, when it is imported for the first time, leave forks alone: with it what hooks fork may crash beside its threads."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def look(packages: Tuple[str, ...] = ("grpc", "protobuf")) -> Dict[str, Any]:
    """What there is, and in problems what is wrong with it."""
    from turnbuckle import __version__

    problems: List[str] = []
    found: Dict[str, Any] = {"ok": False, "python": version_of_python(), "executable": sys.executable, "turnbuckle": __version__}
    if sys.version_info[:2] < OLDEST["python"]:
        problems.append("Python %s is too old: 3.9 is the oldest that will do" % found["python"])
    for package in packages:
        found[package] = None
        try:
            if package == "grpc":
                import grpc
                import grpc.aio

                version = found[package] = str(grpc.__version__)
            else:
                import google.protobuf
                import google.protobuf.message

                version = found[package] = str(google.protobuf.__version__)
        except ModuleNotFoundError as e:
            problems.append("no module named %r" % e.name)
        except Exception as e:
            problems.append("%s cannot be imported: %s: %s" % (package, type(e).__name__, e))
        else:
            if _numbers(version) < OLDEST[package]:
                problems.append("%s %s is too old: %d.%d is the oldest that will do" % ((package, version) + OLDEST[package]))
    found["problems"] = problems
    found["ok"] = not problems
    return found


def tell() -> int:
    """Writes what there is to the standard output, as JSON; returns the exit status."""
    found = look()
    print(json.dumps(found), flush=True)
    return 0 if found["ok"] else UNFIT


def unfit() -> bool:
    """Whether the interpreter will not do; then it has been reported."""
    if WORKER_FD in os.environ:
        return False  # the server has looked
    no_fork_support()
    problems = look()["problems"]
    if problems:
        message = "the interpreter %s (Python %s) will not do: %s" % (sys.executable, version_of_python(), "; ".join(problems))
        print("turnbuckle: " + message, file=sys.stderr)
        report("interpreter", message, interpreter=sys.executable, python=version_of_python())
    return bool(problems)
