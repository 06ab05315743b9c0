"""A team's tracking server: MLflow on PostgreSQL, artifacts proxied, on this machine alone."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests


def free_port() -> int:
    """Number of a port that no program listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def postgres_programs() -> Path | None:
    """Folder of PostgreSQL's programs on Debian; None where they are not installed."""
    return next(
        (place.parent for place in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None
    )


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A new database cluster in `folder`; its address."""
    programs, port = postgres_programs(), free_port()
    # It refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    data = folder / "data"
    folder.mkdir(parents=True)
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/") and parent.name != "tmp":
                parent.chmod(parent.stat().st_mode | 0o011)

    def run(*command: str) -> None:
        subprocess.run([programs / command[0], *command[1:]], check=True, capture_output=True, user=user, cwd=folder)

    run("initdb", "-D", str(data), "-U", "mlflow", "--auth=trust", "--no-sync")
    settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={data}", "fsync=off"]
    options = [option for setting in settings for option in ("-c", setting)]
    with open(folder / "log", "w") as output:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *options],
            user=user,
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        while subprocess.run(ready).returncode:
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow")
        yield f"postgresql://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        # Its fast shutdown: clients are sent away.
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(data, ignore_errors=True)


class MlflowServer:
    """`mlflow server`, which can be stopped and started again on the same port."""

    def __init__(self, database: str, folder: Path, *options: str, certificate: Path | None = None, **environment: str):
        """`options`: further ones of its command line; `certificate`: its own, for TLS."""
        self.folder, self.port, self._database = folder, free_port(), database
        self.uri = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self._options, self._certificate, self._environment = options, certificate, environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self._database, "--artifacts-destination", str(self.folder / "artifacts"), *self._options,
        ]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
        # Ten further processes that nobody needs.
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self._environment
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "server.log", "a") as output:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                if requests.get(f"{self.uri}/health", timeout=1, verify=self._certificate or True).ok:
                    return
            except requests.RequestException:
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                assert self._process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.3)

    def stop(self) -> None:
        """End the server, if it runs."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            self._process.wait(30)
