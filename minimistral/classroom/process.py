"""The grader's side of a hand-in's process: start it in an empty folder, watch it, end it, and say why it ended."""

import os
import pickle
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

from minimistral.classroom.confine import PACKAGE, readable
from minimistral.classroom.values import read_message

START = 120  # seconds that Python may take to start, on a busy machine
LONGEST = 64 * 2**20  # bytes that an answer may give back
FILES, FILE_BYTES = 1000, 64 * 2**20  # in its folder, all together
POLL = 0.1
STOP = threading.Event()  # set at Ctrl-C, which should not wait for a hand-in that hangs


@dataclass(frozen=True)
class Limits:
    """Of one answer.

    seconds     of wall time, and of processor time
    memory      bytes of address space
    file_size   bytes of one file
    """

    seconds: float = 20.0
    memory: int = 2 * 2**30
    file_size: int = 16 * 2**20


@dataclass(frozen=True)
class Ended:
    """What a process said last, if it said anything; why not; and its seconds."""

    said: dict | None
    reason: str
    seconds: float


def run_alone(job: dict, limits: Limits, wrapper: str = "") -> Ended:
    """Run a job in a process of its own. wrapper: the path of bubblewrap, or nothing. Never raises for a hand-in."""
    folder = tempfile.mkdtemp(prefix="hand-in-")
    try:
        may_read = readable()
        rules = {
            "may_read": may_read,
            "seconds": limits.seconds,
            "memory": limits.memory,
            "file_size": limits.file_size,
        }
        command = [sys.executable, "-m", "minimistral.classroom.runner"]
        command = [*bubblewrap(wrapper, folder, may_read), *command] if wrapper else command
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), start_new_session=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            return watched(process, pickle.dumps(job | {"limits": rules}), folder, limits)
        finally:
            end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: str) -> dict[str, str]:
    """Of the grader's own environment only what Python needs to find its libraries."""
    paths = [str(PACKAGE.parent), *(p for p in sys.path if p and os.path.isdir(p))]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    one = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}
    places = dict.fromkeys(("HOME", "TMPDIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"), folder)
    return kept | one | places | {
        "PATH": os.defpath, "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
    }  # fmt: skip


def bubblewrap(program: str, folder: str, may_read: list[str]) -> list[str]:
    """The start of a command line: the same command in a world of its own, with these paths only."""
    seen = [part for path in may_read if not path.startswith("/dev/") for part in ("--ro-bind", path, path)]
    return [program, "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev", *seen,
            "--bind", folder, folder, "--chdir", folder, "--"]  # fmt: skip


def watched(process: subprocess.Popen, job: bytes, folder: str, limits: Limits) -> Ended:
    """Give the process its job, and read what it says until it ends or is ended."""
    try:
        process.stdin.write(job)
        process.stdin.close()
    except OSError:
        pass  # it has ended already; what it said tells why
    start, ready, heard, over = time.monotonic(), None, b"", ""
    with selectors.DefaultSelector() as wait:
        wait.register(process.stdout, selectors.EVENT_READ)
        while not over:  # until a limit is passed, or the other end is closed
            if wait.select(POLL):
                part = os.read(process.stdout.fileno(), 2**20)
                if not part:
                    over = gone(process)
                    break
                heard += part
            if ready is None and b"\n" in heard:
                ready = time.monotonic()
            over = what_is_over(start, ready, len(heard), folder, limits)
    seconds = time.monotonic() - (ready or start)
    end(process)
    lines = heard.split(b"\n")
    said = read_message(lines[1]) if len(lines) > 2 and not over else None
    return Ended(said, "" if said else over or why_it_ended(process.returncode, ready is not None, limits), seconds)


def gone(process: subprocess.Popen) -> str:
    """A process that has closed its mouth should end, too. It stays a zombie, so that its number stays its own."""
    for _ in range(20):
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return ""
        time.sleep(POLL)
    return "goes on without giving anything back"


def what_is_over(start: float, ready: float | None, heard: int, folder: str, limits: Limits) -> str:
    """Which limit is passed, if one is."""
    now = time.monotonic()
    if STOP.is_set():
        return "stopped"
    if ready is None:
        return "its process did not start" if now > start + START else ""
    if now > ready + limits.seconds:
        return f"over the time limit of {limits.seconds:g} s"
    if heard > LONGEST:
        return f"gives back more than {LONGEST // 2**20} MB"
    return f"leaves more than {FILE_BYTES // 2**20} MB or {FILES} files" if too_much_in(folder) else ""


def too_much_in(folder: str) -> bool:
    """More files than anybody needs?"""
    count = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            count += 1
            try:
                size += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue  # gone again
        count += 1
        if count > FILES or size > FILE_BYTES:
            return True
    return False


def end(process: subprocess.Popen) -> None:
    """The process and all in its group, at once; nothing if that was done before."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
    process.stdout.close()


def why_it_ended(status: int, ready: bool, limits: Limits) -> str:
    """Words for a process that said nothing. bubblewrap gives a signal as 128 + its number."""
    number = -status if status < 0 else status - 128
    if not ready:
        return f"its process did not start (status {status})"
    if number in (signal.SIGXCPU, signal.SIGKILL):
        over = number == signal.SIGXCPU
        return f"over the time limit of {limits.seconds:g} s" if over else "killed by the system: out of memory?"
    if number > 0:
        known = number in {s.value for s in signal.Signals}
        return f"crashed: {signal.Signals(number).name if known else f'signal {number}'}"
    return "ends its own process before it gives anything back"
