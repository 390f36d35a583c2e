"""Children of one warm process: forked, so that a start costs milliseconds, watched, and struck by signals."""

import contextlib
import logging
import mmap
import os
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRACE = "Traceback (most recent call last)"
TOUCHING = ("open", "os.rename", "os.remove")  # what Python's audit says of files
EXECUTING = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn", "socket.connect", "os.fork")


@dataclass(frozen=True)
class Blow:
    """A signal, and when it comes.

    Attributes:
        number: The signal.
        seconds: Since the start, or since the touch.
        touch: After so many times that a file of the watched folder is written, renamed or removed; 0 for none.
        group: Whether it comes to the whole group of processes, as from a terminal.
    """

    number: int
    seconds: float
    touch: int = 0
    group: bool = True


def random_blow(random: Random, seconds: float, touches: int) -> Blow:
    """One at any time of ``seconds``, or, as often, in the middle of one of the first writes."""
    number, group = random.choice(SIGNALS), random.random() < 0.5
    if random.random() < 0.5:
        return Blow(number, random.uniform(0, seconds), 0, group)
    return Blow(number, random.uniform(0, 0.006), random.randint(1, touches), group)


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code; of one that died of a signal, the signal's number below 0.
        said: All that it printed.
        struck: Whether the blow came before its end.
        hung: Whether it was still there after its time.
        seconds: How long it lived.
        grown: Bytes of memory that it came to hold, at most, beside those that it began with.
    """

    code: int
    said: str
    struck: bool
    hung: bool
    seconds: float
    grown: int

    @property
    def line(self) -> str:
        """The last line that it printed."""
        return (self.said.strip().splitlines() or [""])[-1]

    @property
    def traced(self) -> bool:
        """Whether a traceback was shown."""
        return TRACE in self.said


class Child:
    """Some work in a child.

    Args:
        work: The work; what it returns is the exit code.
        folder: Where the child is, and whose files are watched.
        memory: Bytes that it may map beside what is mapped already.
        processor: Seconds of the processor that it may use.
        guard: End the child at once, with code 99, if it starts a program, writes outside the folder or reads a file
            called ``secret``.
    """

    def __init__(
        self,
        work: Callable[[], int | None],
        folder: Path,
        memory: int | None = None,
        processor: int | None = None,
        guard: bool = False,
    ) -> None:
        self.touched, writing = os.pipe()
        self.grown = mmap.mmap(-1, 8)  # shared with the child
        self.said, self.began = tempfile.TemporaryFile(), time.perf_counter()  # noqa: SIM115 - closed by end
        self.pid = os.fork()
        if not self.pid:
            os.close(self.touched)
            _limit(memory, processor)
            _work(work, folder, self.said.fileno(), writing, self.grown, guard)
        os.close(writing)

    def end(self, blow: Blow | None = None, timeout: float = 600) -> Ended:
        """Strike it, wait for its end, and kill it after ``timeout`` seconds."""
        try:
            struck = _strike(self.pid, self.touched, blow) if blow else False
            code, hung = _wait(self.pid, self.began + timeout)
        finally:
            os.close(self.touched)
            _end_group(self.pid)  # what it left behind
        with self.said as said:
            said.seek(0)
            text = said.read().decode(errors="replace")
        (grown,) = struct.unpack("q", self.grown[:])
        return Ended(code, text, struck, hung, time.perf_counter() - self.began, grown)


def run(
    work: Callable[[], int | None],
    folder: Path,
    blow: Blow | None = None,
    timeout: float = 600,
    **limits: Any,
) -> Ended:
    """Do some work in a :class:`Child`, to its end."""
    return Child(work, folder, **limits).end(blow, timeout)


def _limit(memory: int | None, processor: int | None) -> None:
    if memory:
        limit = _status("VmSize") + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if processor:
        resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))


def _work(work: Callable[[], int | None], folder: Path, said: int, touched: int, grown: mmap.mmap, guard: bool) -> None:
    """The child's whole life."""
    code, before = 1, _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
        logging.getLogger().handlers.clear()  # a test's, which would keep what is said
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        sys.addaudithook(_guarded(folder) if guard else _telling(folder, touched))
        code = work() or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        grown[:] = struct.pack("q", max(_status("VmHWM") - before, 0))
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _telling(folder: Path, touched: int) -> Callable[[str, tuple], None]:
    start = str(folder)

    def hook(event: str, arguments: tuple) -> None:
        if event in TOUCHING and isinstance(arguments[0], (str, os.PathLike)):
            path = os.fspath(arguments[0])
            if not isinstance(path, str) or (event == "open" and not path.endswith(".tmp")):
                return
            if os.path.abspath(path).startswith(start):
                with contextlib.suppress(OSError):
                    os.write(touched, b".")

    return hook


def _guarded(folder: Path) -> Callable[[str, tuple], None]:
    start = os.path.realpath(folder)

    def hook(event: str, arguments: tuple) -> None:
        wrong = event if event in EXECUTING else ""
        if event == "open" and isinstance(arguments[0], str):
            path, _, flags = arguments
            outside = not os.path.realpath(path).startswith((start, "/dev/null", "/proc/self"))
            if outside and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                wrong = f"wrote {path}"
            if os.path.basename(os.path.realpath(path)).startswith("secret"):
                wrong = f"read {path}"
        if wrong:
            frames = [f"{frame.name} of {frame.filename}" for frame in traceback.extract_stack()[-9:-1]]
            os.write(2, f"GUARD: {wrong}, from {' < '.join(reversed(frames))}\n".encode())
            os._exit(99)

    return hook


def _strike(pid: int, touched: int, blow: Blow) -> bool:
    """Wait for the moment, and send the signal, unless the child ends before."""
    for _ in range(blow.touch):
        if not os.read(touched, 1):
            return False
    ended = time.perf_counter() + blow.seconds
    while (left := ended - time.perf_counter()) > 0:
        if select.select([touched], [], [], left)[0] and not os.read(touched, 4096):
            return False
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if blow.group else os.kill)(pid, blow.number)
    return True


def _end_group(pid: int, seconds: float = 5) -> None:
    """Kill a group of processes, and wait until all are gone: on a busy machine that takes a while."""
    deadline = time.perf_counter() + seconds
    with contextlib.suppress(ProcessLookupError):
        while time.perf_counter() < deadline:
            os.killpg(pid, signal.SIGKILL)
            time.sleep(0.01)


def _wait(pid: int, deadline: float) -> tuple[int, bool]:
    """Its exit code, and whether it hung."""
    pause = 0.001
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), False
        if time.perf_counter() > deadline:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status), True
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, which goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="storm_") as name:
        yield Path(os.path.realpath(name))
