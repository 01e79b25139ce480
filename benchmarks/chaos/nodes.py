"""Two Ray nodes on one machine, the second in a network namespace: an address and ports of its own.

Serve runs one proxy a node, all on the same port, and Ray Serve gives each node's replicas the same
range of ports; with one address for both nodes the second proxy could not bind, or would share the
first's port with it. The second node has a `/tmp`, a journal and a cache of adapters of its own,
by a mount namespace, as another machine would: they survive the node, as a disk does. Needs root
(CAP_NET_ADMIN, CAP_SYS_ADMIN) and iproute2.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import ports
from tests.e2e.server import BIN, ROOT

START_S = 120.0
STARTS = {  # what docs/clusters.md tells to set on every machine
    "RAY_process_group_cleanup_enabled": "true",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_raylet_start_wait_time_s": "90",  # a node that joins a busy machine
}


@dataclass
class Nodes:
    """A head at one end of a cable and a second node at the other, each with room for a replica."""

    name: str = field(default_factory=lambda: f"sb{os.getpid()}")
    net: str = field(default_factory=lambda: f"10.77.{os.getpid() % 250}")
    port: int = field(default_factory=ports.free)
    folder: Path = field(  # not under /tmp, which the second node does not share
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="sbray-", dir="/var/tmp"))
    )
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: int = 0

    @property
    def address(self) -> str:
        """What `ray_address` is to be."""
        return f"{self.first_ip}:{self.port}"

    @property
    def _cable(self) -> str:
        return f"{self.name}c"

    @property
    def disk(self) -> Path:
        """A folder that each node sees its own content of."""
        return self.folder / "disk"

    @property
    def second_log(self) -> str:
        """What the second node's Ray said."""
        return (self.folder / "second.log").read_text(errors="replace")

    @property
    def first_ip(self) -> str:
        """The first node's address: this end of the cable."""
        return f"{self.net}.1"

    @property
    def second_ip(self) -> str:
        """The second node's address."""
        return f"{self.net}.2"

    def __enter__(self) -> Nodes:
        # The server's driver reads them too. Without the mode, a head that finds a token asks all
        # others for it, and they send none.
        os.environ |= STARTS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        for name in ("disk", "second-disk", "second-tmp"):
            (self.folder / name).mkdir()
        try:
            # The first node's address is a bridge's: it stays when the cable is out, as a machine's
            # does whose switch is off. That of an interface which is down would not answer itself.
            self._ip("link", "add", self.name, "type", "bridge")
            self._ip("address", "add", f"{self.first_ip}/24", "dev", self.name)
            self._ip("link", "set", self.name, "up")
            self._ip("netns", "add", self.name)
            self._ip("link", "add", self._cable, "type", "veth", "peer", "eth0", "netns", self.name)
            self._ip("link", "set", self._cable, "master", self.name)
            self.link("up")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{self.second_ip}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("route", "add", "default", "via", self.first_ip),
            ):
                self._ip("-n", self.name, *words)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(subprocess.CalledProcessError):
            self.lose()
        if (first := self.running.pop("first", None)) is not None:
            with suppress(ProcessLookupError):
                first.terminate()
            try:
                first.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(first.pid, signal.SIGKILL)
        for words in (("netns", "delete", self.name), ("link", "delete", self.name)):
            with suppress(subprocess.CalledProcessError):
                self._ip(*words)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start Ray on both, the first as the head."""
        self._start("first", [], ["--head", f"--port={self.port}"])
        self.start_second()

    def start_second(self) -> None:
        """Start the second node's Ray, or start it again, and wait until it has joined."""
        mounts = " && ".join(
            f"mount --bind {self.folder / own} {seen}"
            for own, seen in (("second-disk", self.disk), ("second-tmp", "/tmp"))
        )
        inside = ["ip", "netns", "exec", self.name, "sh", "-c", f'{mounts} && exec "$@"', "sh"]
        self._start("second", inside, [f"--address={self.address}"])

    @property
    def second_runs(self) -> bool:
        """Whether the second node's Ray has not ended."""
        return (second := self.running.get("second")) is not None and second.poll() is None

    def link(self, state: str) -> None:
        """Set the cable `up` or `down`."""
        self._ip("link", "set", self._cable, state)

    def lose(self) -> None:
        """`kill -9` all that runs on the second node."""
        pids = [int(pid) for pid in self._ip("netns", "pids", self.name).split()]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # or those that are left would act
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        if (second := self.running.pop("second", None)) is not None:
            second.wait(30)

    def _start(self, node: str, prefix: list[str], options: list[str]) -> None:
        address = self.first_ip if node == "first" else self.second_ip
        command: list[str | Path] = [*prefix, BIN / "ray", "start", "--block", *options]
        command += [f"--node-ip-address={address}", "--num-cpus=2", '--resources={"slot": 1}']
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        self.started += 1  # a folder each, with a short name: sockets lie in it
        command += [f"--temp-dir={self.folder / str(self.started)}"]
        command += ["--include-dashboard=false"] if node == "first" else []
        log = self.folder / f"{node}.log"
        with log.open("wb") as out:
            self.running[node] = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while b"Ray runtime started" not in log.read_bytes():
            if self.running[node].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Ray's {node} node did not start:\n{log.read_text()}")
            time.sleep(0.2)

    def _ip(self, *words: str) -> str:
        done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
        return done.stdout
