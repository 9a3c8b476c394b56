"""What the process of a hand-in may not do. The process sets it itself, for good, before it runs a line of the hand-in.

Landlock   files: it reads Python and this package, writes plain files into its own folder, and opens nothing else
seccomp    system calls: no socket, no other process, no signal, no change of a file's rights or times
limits     of the system: processor time, memory, the size of a file

All three need no rights and no installation: Linux 6.2 or newer for Landlock as it is needed here (truncation).
What an older kernel lacks, bubblewrap can give (process.py).
"""

import ctypes
import math
import os
import platform
import struct
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo",
          "/sys/devices/system/cpu", "/dev/null", "/dev/zero", "/dev/urandom")  # fmt: skip
KERNEL_WITH_TRUNCATE = 3  # Landlock's version, from which it also minds truncation

# The denied system calls, with their numbers on x86-64 and on 64-bit ARM. None: not there.
DENIED = {
    "socket": (41, 198), "io_uring_setup": (425, 425),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "prlimit64": (302, 261), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40),
    "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442),
}  # fmt: skip
CLONE, CLONE3, CLONE_THREAD = (56, 220), 435, 0x10000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # its column above, its name for seccomp

FILE_RIGHTS = {"execute": 1 << 0, "write": 1 << 1, "read": 1 << 2, "list": 1 << 3, "remove": 1 << 5, "make": 1 << 8,
               "truncate": 1 << 14}  # fmt: skip


def readable() -> list[str]:
    """What a hand-in may read: Python, its libraries, and this package with its solutions."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix}  # their own folders only: a course may lie beside these
    python = {f"{prefix}/{part}" for prefix in prefixes for part in ("bin", "lib", "lib64", "share", "pyvenv.cfg")}
    libraries = {p for p in sys.path if Path(p).name in ("site-packages", "dist-packages", "lib-dynload")}
    ours = (str(PACKAGE), str(PACKAGE.with_name("fastpath")))
    return sorted(p for p in {*python, *libraries, *ours, *SYSTEM} if os.path.exists(p))


def confine(folder: str, may_read: list[str], seconds: float, memory: int, file_size: int) -> None:
    """Give up everything that an answer does not need. `folder` is its own. What this system lacks is left out."""
    if sys.platform == "win32":
        return
    limit(seconds, memory, file_size)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, for good: both of the next need it
        libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: the grader's end is its end
        drop_capabilities(libc)
        landlock(libc, folder, may_read)
        seccomp(libc)


def limit(seconds: float, memory: int, file_size: int) -> None:
    """The system's own limits, and nothing can raise them again."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = math.ceil(used.ru_utime + used.ru_stime + seconds)
    for name, soft, hard in (("CPU", processor, processor + 1), ("AS", memory, memory), ("CORE", 0, 0),
                             ("FSIZE", file_size, file_size), ("NOFILE", 128, 128)):  # fmt: skip
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, hard))


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root without its powers is a user like another; for others this changes nothing."""
    header = struct.pack("Ii", 0x20080522, 0)
    libc.capset(header, bytes(24))


def landlock_version(libc: ctypes.CDLL) -> int:
    """0 where the kernel has none."""
    return max(0, libc.syscall(444, None, ctypes.c_size_t(0), 1))


def landlock(libc: ctypes.CDLL, folder: str, may_read: list[str]) -> None:
    """No file but these: as the kernel's documentation says, with every right handled that this kernel knows."""
    version = landlock_version(libc)
    if version < KERNEL_WITH_TRUNCATE:
        return
    files = (1 << (16 if version >= 5 else 15)) - 1
    network, scoped = 3 * (version >= 4), 3 * (version >= 6)  # TCP; signals and named sockets
    attributes = struct.pack("QQQ", files, network, scoped)
    rules = libc.syscall(444, attributes, ctypes.c_size_t(len(attributes)), 0)
    see = FILE_RIGHTS["execute"] | FILE_RIGHTS["read"]
    change = FILE_RIGHTS["write"] | FILE_RIGHTS["truncate"]
    for path in may_read:
        extra = FILE_RIGHTS["list"] if os.path.isdir(path) else change if path == os.devnull else 0
        allow(libc, rules, path, see | extra)
    own = change | FILE_RIGHTS["read"] | FILE_RIGHTS["list"] | FILE_RIGHTS["remove"] | FILE_RIGHTS["make"]
    allow(libc, rules, folder, own)
    if rules < 0 or libc.syscall(446, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    os.close(rules)


def allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    """One rule: these rights on a file, or on a folder and all that is in it."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if libc.syscall(445, rules, 1, struct.pack("=Qi", rights, place), 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock", path)
    finally:
        os.close(place)


def seccomp(libc: ctypes.CDLL) -> None:
    """Denied system calls fail with EPERM, in this thread and in all that it starts."""
    if platform.machine() not in MACHINES:
        return
    column, machine = MACHINES[platform.machine()]
    code = b"".join(struct.pack("HBBI", *step) for step in steps(column, machine))
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory))
    if libc.prctl(22, 2, program, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def steps(column: int, machine: int) -> list[tuple[int, int, int, int]]:
    """The filter, in the kernel's small language: (what, steps to skip if so, steps to skip if not, number)."""
    load, equal, at_least, any_bit, end = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow_it, deny, not_there = 0x80000000, 0x7FFF0000, 0x50000 | 1, 0x50000 | 38
    program = [
        (load, 0, 0, 4), (equal, 1, 0, machine), (end, 0, 0, kill),  # 32-bit calls have other numbers
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (end, 0, 0, kill),  # and so have those of x32
        (equal, 0, 1, CLONE3), (end, 0, 0, not_there),  # its flags lie in memory; the C library then takes clone
        (equal, 0, 4, CLONE[column]), (load, 0, 0, 16), (any_bit, 0, 1, CLONE_THREAD),
        (end, 0, 0, allow_it), (end, 0, 0, deny),  # a thread, but no process
    ]  # fmt: skip
    for numbers in DENIED.values():
        if numbers[column] is not None:
            program += [(equal, 0, 1, numbers[column]), (end, 0, 0, deny)]
    return [*program, (end, 0, 0, allow_it)]
