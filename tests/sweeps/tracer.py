"""Runs a command and stops it before every system call that changes a file below one folder.

strace counts the calls of each thread for itself, so that it cannot name "the 17th call of this run"; this can. The
kernel's seccomp filter stops the real interpreter at calls that change files and at no others; here each of them is
allowed, made to fail, or is the last thing the process ever does. Linux on x86-64.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

AVAILABLE = sys.platform == "linux" and platform.machine() == "x86_64"
NUMBERS = {
    "write": 1, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74, "fdatasync": 75, "truncate": 76,
    "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "openat": 257,
    "mkdirat": 258, "unlinkat": 263, "renameat": 264, "fallocate": 285, "pwritev": 296, "renameat2": 316,
    "copy_file_range": 326,
}  # fmt: skip
NAMES = {number: name for name, number in NUMBERS.items()}
_BY_DESCRIPTOR = {"write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate", "pwritev"}
_SECOND_DESCRIPTOR = {"copy_file_range": 2, "sendfile": 0}  # where the written one stands
_PATHS = {"openat": (0, 1), "mkdirat": (0, 1), "unlinkat": (0, 1), "renameat": (0, 1, 2, 3),
          "renameat2": (0, 1, 2, 3)}  # fmt: skip
_CONT, _POKEUSER, _ATTACH, _SETOPTIONS, _GETEVENTMSG, _SYSCALL_INFO = 7, 6, 16, 0x4200, 0x4201, 0x420E
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000  # fork, vfork, clone, exec, seccomp; die with the tracer
_SECCOMP, _CHILDREN = 7, {1, 2, 3}
_RAX, _ORIG_RAX = 80, 120
_CREATES = os.O_CREAT | os.O_TRUNC
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that is about to change a file."""

    index: int  # 1 for the first below the folder; 0 for one on the watched file
    name: str
    path: Path
    target: Path | None  # of a rename or link
    arguments: tuple[int, ...]
    thread: int

    def data(self) -> bytes:
        """What is about to be written."""
        if self.name not in {"write", "pwrite64"}:
            raise NotImplementedError(f"the bytes of {self.name} are not known here")
        with open(f"/proc/{self.thread}/mem", "rb", 0) as memory:
            return os.pread(memory.fileno(), self.arguments[2], self.arguments[1])

    def offset(self) -> int:
        """Where it is about to be written."""
        if self.name == "pwrite64":
            return self.arguments[3]
        lines = Path(f"/proc/{self.thread}/fdinfo/{self.arguments[0]}").read_text().split()
        if int(lines[lines.index("flags:") + 1], 8) & os.O_APPEND:
            return self.path.stat().st_size
        return int(lines[lines.index("pos:") + 1])

    def __str__(self) -> str:
        return f"#{self.index} {self.name} {self.path.name}"


KILL = "kill"
Answer = int | str | None  # an errno to fail with, KILL, or None to let it happen
Visitor = Callable[[Call], Answer]


def trace(
    process: int, visit: Visitor, *, folder: Path, watched: Path | None = None, seconds: float = 240
) -> int:
    """Trace a process that is in `await_tracer`; returns its exit code, negative for a signal.

    `visit` is asked about each call that changes something below `folder`, or `watched`.
    """
    late = threading.Timer(seconds, _end, [process])
    late.start()
    try:
        return _Loop(process, visit, folder, watched).run()
    finally:
        late.cancel()


def start(command: Sequence[str], environment: dict[str, str], out: Path, err: Path) -> int:
    """A process that becomes `command` once it is traced; what it prints goes to two files."""
    process = os.fork()
    if process:
        return process
    try:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        await_tracer()
        os.execvpe(command[0], list(command), environment)
    finally:
        os._exit(127)


def await_tracer() -> None:
    """Wait until this process is traced, and ask the kernel to stop it at the calls in NUMBERS from then on."""
    _libc.prctl(
        0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0
    )  # PR_SET_PTRACER: any, where Yama asks
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.001)
    _filter()


def _end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _filter() -> None:
    """A seccomp program: calls in NUMBERS stop for the tracer (openat only where it creates), others pass."""
    stop, allow = (0x06, 0, 0, 0x7FF00000), (0x06, 0, 0, 0x7FFF0000)
    program = [(0x20, 0, 0, 0)]  # load the call's number
    for number in NUMBERS.values():
        if number == NUMBERS["openat"]:  # load the flags; those that create or cut stop
            program += [(0x15, 0, 4, number), (0x20, 0, 0, 32), (0x45, 0, 1, _CREATES), stop, allow]
        else:
            program += [(0x15, 0, 1, number), stop]
    program.append(allow)
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer)))
    if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, head, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter here")


class _Loop:
    """The tracer's side: every thread of the command, one stop at a time."""

    def __init__(self, process: int, visit: Visitor, folder: Path, watched: Path | None) -> None:
        self.process, self.visit, self.folder, self.watched = process, visit, str(folder), watched
        self.index = 0
        self.threads = {process}
        self.new: set[int] = set()

    def run(self) -> int:
        self._ptrace(_ATTACH, self.process, 0, 0)
        os.waitpid(self.process, 0x40000000)
        self._ptrace(_SETOPTIONS, self.process, 0, _OPTIONS)
        self._go_on(self.process, 0)
        code = 0
        while self.threads:
            try:
                thread, status = os.waitpid(-1, 0x40000000)  # __WALL: threads too
            except ChildProcessError:
                break
            if os.WIFSTOPPED(status):
                self._stopped(thread, status)
                continue
            self.threads.discard(thread)
            if thread == self.process:
                code = os.waitstatus_to_exitcode(status)
        return code

    def _stopped(self, thread: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        if event == _SECCOMP:
            self._asked(thread)
        elif event in _CHILDREN:
            child = ctypes.c_ulong()
            self._ptrace(_GETEVENTMSG, thread, 0, ctypes.addressof(child))
            self.threads.add(child.value)
            self._go_on(thread, 0)
        elif event or (number == signal.SIGSTOP and thread not in self.new):
            self.threads.add(thread)
            self.new.add(thread)  # the first stop of a new thread is the kernel's, not a signal
            self._go_on(thread, 0)
        else:
            self._go_on(thread, number)

    def _asked(self, thread: int) -> None:
        answer = None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # killed meanwhile
            call = self._call(thread)
            answer = self.visit(call) if call is not None else None
        if answer == KILL:
            _end(thread)
        elif answer is not None:
            self._ptrace(_POKEUSER, thread, _ORIG_RAX, ctypes.c_ulong(-1 & (1 << 64) - 1).value)
            self._ptrace(_POKEUSER, thread, _RAX, ctypes.c_ulong(-int(answer) & (1 << 64) - 1).value)
        self._go_on(thread, 0)

    def _call(self, thread: int) -> Call | None:
        """The call, if it is on a file that matters."""
        buffer = ctypes.create_string_buffer(88)
        if _libc.ptrace(_SYSCALL_INFO, thread, 88, buffer) < 0:
            return None
        number, *arguments = struct.unpack_from("7Q", buffer, 24)
        name = NAMES.get(number, "")
        paths = list(self._paths(thread, name, arguments))
        if self.watched is not None and paths == [self.watched]:
            return Call(0, name, paths[0], None, tuple(arguments), thread)
        if not paths or not any(f"{path}/".startswith(f"{self.folder}/") for path in paths):
            return None
        self.index += 1
        target = paths[1] if len(paths) > 1 else None
        return Call(self.index, name, paths[0], target, tuple(arguments), thread)

    def _paths(self, thread: int, name: str, arguments: Sequence[int]) -> Iterator[Path]:
        if name in _BY_DESCRIPTOR or name in _SECOND_DESCRIPTOR:
            descriptor = arguments[_SECOND_DESCRIPTOR.get(name, 0)]
            yield Path(os.readlink(f"/proc/{thread}/fd/{descriptor & 0xFFFFFFFF}"))
        elif name in _PATHS:
            places = _PATHS[name]
            for at, place in zip(places[::2], places[1::2], strict=True):
                yield self._path(thread, arguments[at], arguments[place])
        elif name in {"rename", "link"}:
            yield from (self._path(thread, -100, address) for address in arguments[:2])
        elif name:
            yield self._path(thread, -100, arguments[0])

    def _path(self, thread: int, base: int, address: int) -> Path:
        with open(f"/proc/{thread}/mem", "rb", 0) as memory:
            room = min(4096, 4096 - address % 4096 + 4096)
            text = (
                os.pread(memory.fileno(), room, address)
                .partition(b"\0")[0]
                .decode("utf-8", "surrogateescape")
            )
        if text.startswith("/"):
            return Path(text)
        descriptor = base & 0xFFFFFFFF
        place = "cwd" if descriptor == 0xFFFFFF9C else f"fd/{descriptor}"
        return Path(os.readlink(f"/proc/{thread}/{place}"), text)

    def _go_on(self, thread: int, number: int) -> None:
        _libc.ptrace(
            _CONT, thread, None, number
        )  # it may have been killed meanwhile: then it is gone, and that is told

    def _ptrace(self, request: int, thread: int, address: int, value: int) -> None:
        if _libc.ptrace(request, thread, address, value) < 0:
            error = ctypes.get_errno()
            if error != 3:  # ESRCH: killed meanwhile
                raise OSError(error, f"ptrace {request:#x}")
