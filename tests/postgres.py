"""A PostgreSQL server of one's own, which can be stopped, killed and started again."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from serving import ports
from tests.waiting import PATIENCE_S, until


def binaries() -> Path | None:
    """Return the folder of the newest server's programs, or None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        shown = subprocess.run(["pg_config", "--bindir"], capture_output=True, check=True)
        folders.insert(0, Path(shown.stdout.decode().strip()))
    both = (folder for folder in folders if (folder / "initdb").exists())
    return next((folder for folder in both if (folder / "postgres").exists()), None)


def self_signed(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that is its own authority; its key lies beside it."""
    certificate = folder / "server.crt"
    command: list[str | Path] = ["openssl", "req", "-x509", "-nodes", "-days", "2"]
    command += ["-newkey", "rsa:2048", "-subj", "/CN=a test's authority"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", folder / "server.key", "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


class Postgres:
    """A server with its own data folder; it refuses to run as root, so root runs it as `postgres`.

    Args:
        folder: The folder of its programs, as `binaries` finds it.
        durable: Sync to the disk, as a real server does; off makes tests faster.
        certificate: Take connections by TLS only, with this certificate of `self_signed`.
    """

    def __init__(
        self, folder: Path, *, durable: bool = False, certificate: Path | None = None
    ) -> None:
        self._binaries = folder
        self._durable = durable
        self._user = "postgres" if os.getuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="sb-postgres-"))
        if self._user is not None:
            os.chown(self._home, pwd.getpwnam(self._user).pw_uid, -1)
        self._port = ports.free()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        # By a file: also reached from other network namespaces of this machine.
        self.socket_url = f"postgresql://postgres@/postgres?host={self._home}&port={self._port}"
        command: list[str | Path] = [folder / "initdb", "-D", self._home / "data"]
        command += ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run(command)
        self._options: list[str] = []
        if certificate is not None:
            self._close(certificate)

    def _close(self, certificate: Path) -> None:
        """Have it demand TLS of every connection but those by its file."""
        for file in (certificate, certificate.with_suffix(".key")):
            copy = Path(shutil.copy(file, self._home / file.name))
            copy.chmod(0o600)
            if self._user is not None:
                os.chown(copy, pwd.getpwnam(self._user).pw_uid, -1)
        (self._home / "data" / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"
        )
        self._options += ["-c", "ssl=on", "-c", f"ssl_cert_file={self._home / certificate.name}"]
        self._options += ["-c", f"ssl_key_file={self._home / certificate.stem}.key"]

    def start(self) -> None:
        """Start it and wait until it answers."""
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._home / "data"]
        command += ["-k", self._home, "-p", str(self._port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"fsync={'on' if self._durable else 'off'}", *self._options]
        with (self._home / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, user=self._user, cwd=self._home, stdout=log, stderr=log
            )
        until(self._answers, "PostgreSQL does not answer", every_s=0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.socket_url).close()
        except psycopg.OperationalError:
            if self._process is None or self._process.poll() is not None:
                log_text = (self._home / "log").read_text()
                raise RuntimeError(f"PostgreSQL did not start:\n{log_text}") from None
            return False
        return True

    def stop(self) -> None:
        """Stop it with the "fast" shutdown: SIGTERM would wait for clients."""
        self._signal(signal.SIGINT)

    def crash(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: nothing is written out, clients are cut."""
        self._run([self._binaries / "pg_ctl", "stop", "-m", "immediate", "-D", self._home / "data"])
        self._signal(None)

    def kill(self) -> None:
        """`kill -9` its first process; the kernel or the others' watch ends the rest."""
        self._signal(signal.SIGKILL)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _signal(self, number: signal.Signals | None) -> None:
        if self._process is not None:
            if number is not None:
                self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _run(self, command: list[str | Path]) -> None:
        subprocess.run(
            command, user=self._user, cwd=self._home, check=True, stdout=subprocess.DEVNULL
        )
