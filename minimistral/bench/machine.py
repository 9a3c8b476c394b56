"""What this machine is, and its own limits: reading, copying and multiplying as fast as plain library calls do.

Reading and copying run in one thread for each CPU of this process, each on its own part of the array (NumPy lets go
of the interpreter's lock inside). Arrays are many times larger than the processor's cache. sgemm and sgemv are
NumPy's matrix products, so they are its BLAS's.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.bench.measure import Clock

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
                    "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "NUMBA_THREADING_LAYER")  # fmt: skip
PACKAGES = ("numpy", "numba", "llvmlite", "numba-cuda", "torch", "transformers", "ml_dtypes")
READ_BYTES = 512 * 2**20
GEMM_SIZE = 2048
GEMV_SHAPE = (32768, 4096)  # 512 MiB in float32


class Limit(NamedTuple):
    """One of the machine's limits: what a call does, in `unit` x 1e9, and the call."""

    name: str
    unit: str
    how: str
    amount: float  # bytes or operations of one call
    call: Callable[[], object]


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_limits(threads: int) -> list[Limit]:
    """Read and copy bandwidth, sgemm and sgemv."""
    n_bytes, n = READ_BYTES, GEMM_SIZE
    source = np.ones(n_bytes // 8, np.uint64)
    target = np.zeros_like(source)  # written now: the first touch of a page is slow
    pool = ThreadPoolExecutor(threads)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))

    def read() -> list:
        return list(pool.map(lambda part: np.add.reduce(part[0]), parts))

    def copy() -> list:
        return list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

    rows, columns = GEMV_SHAPE
    a, w, x = (np.ones(s, np.float32) for s in ((n, n), (rows, columns), columns))
    out = np.empty_like(a)
    return [
        Limit("read", "GB/s", f"sum of {n_bytes >> 20} MiB of uint64, {threads} threads", n_bytes, read),
        Limit("copy", "GB/s", f"copy of {n_bytes >> 20} MiB, {threads} threads, read + written", 2 * n_bytes, copy),
        Limit("sgemm", "GFLOP/s", f"float32 {n} x {n} x {n}", 2.0 * n**3, lambda: np.matmul(a, a, out=out)),
        Limit("sgemv", "GB/s", f"float32 {rows} x {columns} by a vector", w.nbytes, lambda: np.dot(w, x)),
    ]


def gpu_limits() -> list[Limit]:
    """Copy bandwidth and the peaks of int8, bfloat16 and float64 products on a GPU, by PyTorch; none without them.

    Without PyTorch, the copy alone, by Numba.
    """
    try:
        import torch
    except ImportError:
        return _gpu_copy_by_numba()
    if not torch.cuda.is_available():
        return _gpu_copy_by_numba()

    def waiting(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            torch.cuda.synchronize()

        return run

    free = torch.cuda.mem_get_info()[0]
    n_bytes = min(2**31, free // 8)
    source = torch.ones(n_bytes, dtype=torch.uint8, device="cuda")
    target = torch.zeros_like(source)
    limits = [
        Limit("gpu copy", "GB/s", f"{n_bytes >> 20} MiB, read + written", 2 * n_bytes,
              waiting(lambda: target.copy_(source)))
    ]  # fmt: skip
    n = 8192
    for name, dtype in (("bfloat16", torch.bfloat16), ("float64", torch.float64), ("int8", torch.int8)):
        a = torch.randint(-100, 100, (n, n), device="cuda").to(dtype)  # zeros and ones would draw less power
        product = (lambda a=a: torch._int_mm(a, a.T)) if dtype == torch.int8 else (lambda a=a: a @ a.T)
        unit = "GOP/s" if name == "int8" else "GFLOP/s"
        limits.append(Limit(f"gpu {name}", unit, f"{n} x {n} x {n}", 2.0 * n**3, waiting(product)))
    return limits


def _gpu_copy_by_numba() -> list[Limit]:
    try:
        from numba import cuda

        if not cuda.is_available():
            return []
    except ImportError:
        return []
    n_bytes = min(2**31, int(cuda.current_context().get_memory_info()[0]) // 8)
    source = cuda.to_device(np.ones(n_bytes, np.uint8))
    target = cuda.device_array_like(source)

    def copy() -> None:
        target.copy_to_device(source)
        cuda.synchronize()

    return [Limit("gpu copy", "GB/s", f"{n_bytes >> 20} MiB, read + written", 2 * n_bytes, copy)]


def measure_limits(limits: list[Limit], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Rates in units of 1e9 a second, `rounds` of each, taking turns; one call before that does not count."""
    found: dict[str, list[float]] = {limit.name: [] for limit in limits}
    for n in range(rounds + 1):
        for limit in limits:
            start = clock()
            limit.call()
            seconds = clock() - start
            if n:
                found[limit.name].append(limit.amount / seconds / 1e9)
    return found


def describe() -> dict:
    """The machine in words and numbers; no name or path of it."""
    return {
        "cpu": _cpu_name(),
        "cpus": cpus(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpu": _gpu_name(),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpu_name() -> str | None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cuda = sys.modules.get("numba.cuda")
    if cuda is not None and cuda.is_available():
        name = cuda.get_current_device().name
        return name.decode() if isinstance(name, bytes) else str(name)
    return None


def versions() -> dict[str, str | None]:
    """Of Python and of every package that can change a time; None: not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    found["blas"] = f"{blas.get('name')} {blas.get('version')}"
    return found


def threads_used() -> dict:
    """What decides how many threads each library takes: the variables that are set, and what is loaded says itself."""
    found: dict = {"variables": {v: os.environ[v] for v in THREAD_VARIABLES if v in os.environ}}
    torch, numba = sys.modules.get("torch"), sys.modules.get("numba")
    found["torch"] = None if torch is None else torch.get_num_threads()
    found["numba"] = None if numba is None else numba.get_num_threads()
    try:
        found["numba_layer"] = None if numba is None else numba.threading_layer()
    except ValueError:  # nothing has run in parallel
        found["numba_layer"] = None
    return found


def load_average() -> float | None:
    """Of the last minute: programs that wanted to run, this one among them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def commit() -> tuple[str | None, bool | None]:
    """(the commit of this package's checkout, whether files differ from it); None, None where it is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None, None

    def git(*words: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=True)
        return run.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "minimistral", "fastpath"))
    except (OSError, subprocess.SubprocessError):
        return None, None


class Memory:
    """The most memory that this process has had since `reset`, and how much more than at that time."""

    def reset(self) -> None:
        """Linux can forget the peak so far; elsewhere the peak is that of the whole process, and no growth is known."""
        self._before = _status("VmRSS:")
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self._exact = True
        except OSError:
            self._exact = False

    def peak(self) -> dict:
        """peak_rss_bytes, and peak_rss_growth_bytes (None: not known)."""
        peak = _status("VmHWM:") if self._exact else _lifetime_peak()
        known = self._exact and peak is not None and self._before is not None
        return {"peak_rss_bytes": peak, "peak_rss_growth_bytes": peak - self._before if known else None}


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except (OSError, StopIteration, ValueError):
        return None


def _lifetime_peak() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def gpu_used() -> int | None:
    """Bytes taken on the GPU by all programs; None without one."""
    torch, cuda = sys.modules.get("torch"), sys.modules.get("numba.cuda")
    if torch is not None and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return total - free
    if cuda is not None and cuda.is_available():
        free, total = cuda.current_context().get_memory_info()
        return int(total) - int(free)
    return None
