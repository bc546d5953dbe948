"""A daemon in a temporary home, for the measuring scripts beside this file.

Needs Python 3.9 and nothing else. The executables are those of `cargo build --release`.
"""

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASE = ROOT / "target" / "release"


class TemporaryDaemon:
    """Starts `resembled` on `folder`; a context manager that stops it and forgets everything."""

    def __init__(self, folder, arguments=(), environment=None):
        self.folder, self.arguments = Path(folder), list(arguments)
        self._home = tempfile.TemporaryDirectory(prefix="resembled-")
        self.home = Path(self._home.name)
        self.process = None
        self.environment = {**os.environ, "HOME": str(self.home), **(environment or {})}
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            self.environment[f"XDG_{name}_HOME"] = str(self.home / name.lower())
        self.environment["XDG_RUNTIME_DIR"] = str(self.home / "run")
        self.environment.setdefault("RESEMBLED_MODEL_DIR", str(ROOT.parent / "shared" / "models"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._home.cleanup()

    def start(self):
        """Starts the daemon and returns once it says that it is ready."""
        address = self.home / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(address))
            told.settimeout(60)
            self.process = subprocess.Popen(
                [RELEASE / "resembled", self.folder, *self.arguments],
                env={**self.environment, "NOTIFY_SOCKET": str(address)},
                stderr=open(self.home / "log", "ab"))
            while b"READY=1" not in told.recv(4096):
                pass

    def stop(self):
        """Stops the daemon; all it had in hand is committed."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None

    def resemble(self, *arguments):
        """Runs the client with `--json`; returns one object a line."""
        output = subprocess.run([RELEASE / "resemble", *map(str, arguments), "--json"], env=self.environment,
                                check=False, capture_output=True, text=True)
        if output.returncode == 2:
            raise RuntimeError(output.stderr)
        return [json.loads(line) for line in output.stdout.splitlines()]

    def wait_until_idle(self):
        """Returns the status once the index equals the disk."""
        return self.resemble("status", "--watch")[-1]

    def peak_memory_mb(self):
        """Returns the peak of the daemon's resident memory so far."""
        return self._memory("VmHWM")

    def memory_mb(self):
        """Returns the daemon's resident memory now."""
        return self._memory("VmRSS")

    def _memory(self, key):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"the system does not say {key}")
