"""Whether the kernels were compiled for this machine before: asked without loading Numba, which takes half a second.

When they are compiled, an empty file is left beside Numba's cache. Its name says what they were compiled of and for.
"""

import os
import platform
import sys
import zlib
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent


def source_number() -> int:
    """A number that changes with any file of this package."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py"))))


def mark() -> str:
    """The name of the file: sources, Python, Numba, processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        processor = next(line for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    about = f"{sys.version} {metadata.version('numba')} {processor} {os.environ.get('NUMBA_CPU_NAME')}"
    return f"kernels-{source_number():08x}-{zlib.crc32(about.encode()):08x}.compiled"


def folders() -> list[Path]:
    """Where Numba keeps what it compiled: a folder that was named, the package's own, or the user's."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return [Path(named)]
    home = Path.home() if "HOME" in os.environ or sys.platform == "win32" else HERE
    return [HERE, home / ".cache" / "numba", home / "Library" / "Caches" / "numba"]


def compiled_before() -> bool:
    """Whether the kernels can be loaded instead of compiled."""
    name = mark()
    try:
        return any(next(folder.glob(f"*/{name}"), None) is not None for folder in folders())
    except OSError:
        return False


def remember(folder: str | None) -> None:
    """Leave the mark in Numba's folder; if that cannot be written, the kernels are compiled in every process."""
    try:
        if folder:
            (Path(folder) / mark()).touch()
    except OSError:
        pass
