"""Runs a program with what a requirements.txt asks for: makes the virtual environment the first time, and becomes its interpreter.

FOLDER REQUIREMENTS ARGUMENTS... are the arguments; FOLDER is for this interpreter and these requirements alone."""

import fcntl
import json
import os
import shutil
import subprocess
import sys

NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def fail(message):
    text = "cannot install what %s asks for: %s; the interpreter is %s" % (requirements, message, sys.executable)
    sys.stderr.write("turnbuckle-error %s\n" % json.dumps({"kind": "load", "message": text[:7000]}))
    sys.exit(3)


def run(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    if result.returncode:
        lines = [line for line in result.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        fail("; ".join(errors or lines[-3:]) or "status %d" % result.returncode)


def imports(python, *modules):
    return subprocess.run([python, "-c", "import " + ", ".join(modules)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, env=environment).returncode == 0


folder, requirements, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
python = os.path.join(folder, "bin", "python")
environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TURNBUCKLE_"))}
if not os.path.exists(os.path.join(folder, ".complete")):
    try:
        with open(folder + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(os.path.join(folder, ".complete")):
                shutil.rmtree(folder, ignore_errors=True)
                sys.stderr.write("INFO turnbuckle: making a virtual environment for %s\n" % requirements)
                run(sys.executable, "-m", "venv", "--system-site-packages", folder)
                pip = (python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet")
                run(*pip, "-r", requirements)
                if not imports(python, "grpc", "google.protobuf"):
                    run(*pip, "grpcio>=1.51", "protobuf>=3.20")
                open(os.path.join(folder, ".complete"), "w").close()
    except OSError as e:
        fail(str(e))
for name in list(os.environ):
    if name.startswith("PIP_") or name in NETWORK:
        del os.environ[name]
os.execv(python, [python] + arguments)
