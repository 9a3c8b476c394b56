"""What holds on this machine: a hand-in of our own tries to do harm, and says where it succeeded."""

import contextlib
import inspect
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from minimistral.classroom.process import Limits, run_alone

PROTECTIONS = ("network", "files", "processes", "signals", "memory", "file size")


@dataclass(frozen=True)
class Sandbox:
    """How hand-ins run here: with bubblewrap (its path) or without, what holds, and what does not.

    trouble: why nothing runs at all, if so
    """

    wrapper: str
    leaks: tuple[str, ...]
    trouble: str = ""

    @property
    def words(self) -> str:
        held = [p for p in PROTECTIONS if p not in self.leaks]
        by = "bubblewrap and the kernel" if self.wrapper else "the kernel"
        return f"{by} hold{'' if self.wrapper else 's'} back: {', '.join(held) or 'nothing'}"


def find_sandbox(limits: Limits) -> Sandbox:
    """The best that this machine offers: bubblewrap if it is there and works, the kernel's own means in any case."""
    found = [tried(wrapper, limits) for wrapper in (shutil.which("bwrap") or "", "")]
    return min(found, key=lambda one: (bool(one.trouble), len(one.leaks)))


def tried(wrapper: str, limits: Limits) -> Sandbox:
    """Run the attempts in such a process: what it says, and what is seen from here."""
    with tempfile.TemporaryDirectory() as place, listening() as servers:
        canary = Path(place) / "canary"
        canary.write_text("alive")
        port = servers[0].getsockname()[1]
        call = f"said = attempts({str(canary)!r}, {port}, {os.getpid()}, {limits.memory}, {limits.file_size})"
        source = f"{inspect.getsource(attempts)}\n{call}\n"
        job = {"cells": [("probe", source, "answer")], "expression": "said", "inputs": [], "call": None}
        ended = run_alone(job, limits, wrapper)
        leaks = {"network"} if any(reached(server) for server in servers) else set()
        if os.listdir(place) != ["canary"] or canary.read_text() != "alive":
            leaks.add("files")
    said = ended.said or {}
    if not isinstance(said.get("value"), dict):
        return Sandbox(wrapper, PROTECTIONS, ended.reason or str(said.get("error", {}).get("words")))
    return Sandbox(wrapper, tuple(p for p in PROTECTIONS if p in leaks | set(said["value"]["list"])))


@contextlib.contextmanager
def listening():
    """Two sockets of this machine, TCP and UDP, at one port."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(tcp.getsockname())
        tcp.settimeout(0.05)
        udp.settimeout(0.05)
        yield tcp, udp


def reached(server: socket.socket) -> bool:
    """Did anybody come?"""
    try:
        server.recv(1) if server.type == socket.SOCK_DGRAM else server.accept()[0].close()
    except OSError:
        return False
    return True


def attempts(canary, port, grader, memory, file_size):
    """Every harm in turn; the protections that failed. Its source runs as a hand-in does, and needs nothing else."""
    import os
    import socket

    def connect():
        socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))  # who listens will say whether it came
        socket.create_connection(("127.0.0.1", port), timeout=2)

    def write():
        with open(canary, "r+b") as file:
            file.write(b"dead")

    def cut():
        os.open(canary, os.O_RDONLY | os.O_TRUNC)

    def fork():
        if os.fork() == 0:
            os._exit(0)

    def write_much():
        with open("much", "wb") as file:
            file.writelines(bytes(2**20) for _ in range(file_size // 2**20 + 2))

    tries = [
        ("network", connect),
        ("files", lambda: os.open(canary, os.O_RDONLY)), ("files", lambda: os.listdir(os.path.dirname(canary))),
        ("files", lambda: os.open(f"{canary}-2", os.O_CREAT | os.O_WRONLY)), ("files", lambda: os.chmod(canary, 0o700)),
        ("files", lambda: os.utime(canary)), ("files", write), ("files", cut), ("files", lambda: os.remove(canary)),
        ("processes", fork), ("signals", lambda: os.kill(grader, 0)),
        ("memory", lambda: bytes(memory)), ("file size", write_much),
    ]  # fmt: skip
    leaks = []
    for protection, attempt in tries:
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        leaks.append(protection)
    return leaks
