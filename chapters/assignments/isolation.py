"""A submission in a process of its own: no network, no files of the course, bounded.

The tests run here, the student's code there. Between the two only plain data passes, so that code
which reads the tests, replaces the checker or ends the interpreter finds neither to touch.
"""

import builtins
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import kltools
from chapters.assignments import runner

BOOK = "/book"  # where the sandbox has kltools, whichever one this is


@dataclass(frozen=True)
class Limits:
    """What one submission may take."""

    seconds: float = 10  # a cell, or one call of a function
    total: float = 120  # the whole notebook, restarts included
    memory: int = 2 * 2**30  # bytes, all its processes together
    processes: int = 64
    files: int = 2**26  # bytes, in memory


class Lost(Exception):
    """The student's process is gone; the message says why."""


class Ended(Lost):
    """It ended by itself."""


def sandbox(limits: Limits) -> list[str]:
    """The words before the command that isolate it: bubblewrap.

    Only the interpreter, its libraries and ``kltools`` can be seen, read-only; a small folder in
    memory can be written. Processes, network, users and host name are the sandbox's own.

    Raises:
        RuntimeError: there is no bubblewrap, or the system does not let it work.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise RuntimeError(
            "bwrap not found: student code would not be isolated. On Linux install bubblewrap "
            "(apt-get install bubblewrap); elsewhere grade in a Linux container or virtual machine"
        )
    see = {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives"}
    see |= {sys.prefix, sys.base_prefix}
    see |= set(map(os.path.realpath, see))
    words = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--hostname", "student"]
    alone = ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    words += alone if os.geteuid() else ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", "/dev/shm"):
        words += ["--perms", "1777", "--size", str(limits.files), "--tmpfs", folder]
    above = {str(a) for path in see for a in Path(path).parents} | {BOOK}
    for folder in sorted(above - see - {"/"}):
        words += ["--perms", "0755", "--dir", folder]
    for path in sorted(see):
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            words += ["--ro-bind", path, path]
    if os.path.isdir("/usr/local/share"):  # where nbgrader keeps what all students handed in
        words += ["--tmpfs", "/usr/local/share", "--remount-ro", "/usr/local/share"]
    words += ["--ro-bind", str(Path(kltools.__file__).parent), f"{BOOK}/kltools"]
    words += ["--ro-bind", runner.__file__, "/tmp/runner.py", "--chdir", "/tmp"]
    words += ["--remount-ro", "/", "--remount-ro", "/dev"]  # else they have memory without a limit
    for name, value in {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1",
    }.items():  # fmt: skip
        words += ["--setenv", name, value]
    if not os.geteuid():  # root has no bound on processes: become a user that nobody else is
        user = 10**6 + os.getpid()
        words += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        words += ["--inh-caps=-all", "--no-new-privs", bwrap, *alone]
        words += ["--unshare-pid", "--dev-bind", "/", "/"]
    return words


def works() -> None:
    """Raise unless the sandbox can be entered on this machine.

    Raises:
        RuntimeError: it cannot; the message says what bubblewrap said.
    """
    begin = f"import sys; sys.path.insert(0, {BOOK!r}); import numpy, kltools.tasks"
    command = [*sandbox(Limits()), sys.executable, "-I", "-c", begin]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if said.returncode:
        raise RuntimeError(f"bubblewrap cannot isolate on this machine: {said.stderr.strip()}")


class Process:
    """One sandboxed interpreter; ``ask`` sends it a request and waits for the reply."""

    def __init__(self, limits: Limits, isolated: bool = True) -> None:
        self.limits, self.first, self.count = limits, 0, 0
        script = "/tmp/runner.py" if isolated else runner.__file__
        book = BOOK if isolated else str(Path(kltools.__file__).parents[1])
        command = [sys.executable, "-I", script, str(limits.memory), str(limits.processes), book]
        told, tell = os.pipe()
        if isolated:
            before = sandbox(limits)
            command = [before[0], "--info-fd", str(tell), *before[1:], *command]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self.child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=null, bufsize=0, pass_fds=(tell,)
        )
        os.close(tell)
        with os.fdopen(told) as info, contextlib.suppress(ValueError):
            self.first = json.load(info)["child-pid"] if isolated else 0
        assert self.child.stdin and self.child.stdout
        os.set_blocking(self.child.stdin.fileno(), False)
        os.set_blocking(self.child.stdout.fileno(), False)

    def ask(self, request: dict, seconds: float) -> dict:
        """The reply, which is the student's word and no more.

        Raises:
            Lost: the time or the memory ran out, the process ended, or the reply is no reply.
        """
        self.count += 1
        request = {**request, "id": self.count}
        try:
            return self._talk(json.dumps(request).encode() + b"\n", time.monotonic() + seconds)
        except Lost:
            self.stop()
            raise

    def _talk(self, send: bytes, end: float) -> dict:
        read, write = self.child.stdout, self.child.stdin
        came, size, look, start = b"", 0, time.monotonic() + 0.05, time.monotonic()
        with selectors.DefaultSelector() as ready:
            ready.register(read, selectors.EVENT_READ)
            ready.register(write, selectors.EVENT_WRITE)
            while True:
                for key, _ in ready.select(timeout=0.05):
                    if key.fileobj is write:
                        try:
                            send = send[os.write(write.fileno(), send) :]
                        except BrokenPipeError:
                            raise Ended("the process ended") from None
                        if not send:
                            ready.unregister(write)
                        continue
                    chunk = os.read(read.fileno(), 2**20)
                    if not chunk:
                        raise Ended("the process ended")
                    size += len(chunk)
                    if size > runner.FRAME:
                        raise Lost("it sent more than can be read")
                    *lines, came = (came + chunk).split(b"\n")
                    for reply in map(self._reply, lines):
                        if reply.get("id") == self.count:  # else an answer that came too late
                            return reply
                now = time.monotonic()
                if now > end:
                    raise Lost(f"no answer within {end - start:.3g} seconds")
                if now > look:
                    self._watch()
                    look = now + 0.05

    @staticmethod
    def _reply(line: bytes) -> dict:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict) or not isinstance(reply.get("text"), str):
            raise Lost("it sent what is no reply")
        return reply

    def _watch(self) -> None:
        """All processes of the sandbox together: memory and number."""
        used, count = 0, 0
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.child.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used, count = used + process.memory_info().rss, count + 1
        if used > self.limits.memory:
            raise Lost(f"it took more than {self.limits.memory // 2**20} MiB of memory")
        if count > self.limits.processes + 10:  # bubblewrap's own are among them
            raise Lost(f"it started more than {self.limits.processes} processes")
        if psutil.virtual_memory().available < 2**29:
            raise Lost("this machine's memory was running out")

    def stop(self) -> None:
        """End it with all that it started: the kernel ends a sandbox with its first process."""
        if self.child.poll() is None:  # else its number may be another's by now
            pids = [self.first] if self.first else []
            if not self.first:
                with contextlib.suppress(psutil.NoSuchProcess):
                    below = psutil.Process(self.child.pid).children(recursive=True)
                    pids = [process.pid for process in below]
            for pid in [*pids, self.child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Submission:
    """The code of one notebook, living in a sandbox that is started again whenever it is lost.

    After a loss the cells that ran before run once more, without the one that caused it: a cell
    that loops or ends the interpreter costs its own marks and no others.
    """

    def __init__(self, limits: Limits | None = None, isolated: bool = True) -> None:
        self.limits, self.isolated = limits or Limits(), isolated
        self.end = time.monotonic() + self.limits.total
        self.process: Process | None = None
        self.cells: list[dict] = []

    def __enter__(self) -> "Submission":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stop()

    def run(self, source: str, number: int = 0) -> tuple[str, bool]:
        """Run a cell: what it printed, and whether it failed; its number is for the traceback."""
        request = {"run": source, "cell": number}
        try:
            reply = self._ask(request)
        except Lost as e:
            return f"This cell was stopped: {e}. The others are graded without it.", True
        self.cells.append(request)
        return reply["text"], bool(reply.get("failed"))

    def call(self, name: str, args: tuple) -> Any:
        """The value of a function of the student's, or the exception that it raised.

        Raises:
            Exception: of the built-in class of the same name, or a RuntimeError that names it.
        """
        try:
            reply = self._ask({"call": name, "args": [runner.encode(a) for a in args]})
        except Lost as e:
            raise RuntimeError(f"{name} was stopped: {e}") from None
        if "error" not in reply:
            try:
                return runner.decode(reply["value"])
            except Exception:  # whatever it is that came, it is no value
                raise TypeError(f"{name} returned what cannot be read") from None
        kind, message = map(str, (*reply.get("error", ()), "", "")[:2])
        if kind == "KeyError" and message == repr(name):
            raise NameError(f"there is no function {name}: its cell failed, or names another")
        error = getattr(builtins, kind, None)
        known = isinstance(error, type) and issubclass(error, Exception)
        if known and kind not in {"UnicodeDecodeError", "UnicodeEncodeError", "ExceptionGroup"}:
            raise error(message)
        raise RuntimeError(f"{kind}: {message}")

    def function(self, name: str) -> Any:
        """A function that looks like the student's and calls it there."""

        def f(*args: Any) -> Any:
            return self.call(name, args)

        f.__name__ = f.__qualname__ = name
        return f

    def _ask(self, request: dict) -> dict:
        if self.process is None or self.process.child.poll() is not None:
            self._restart()
        assert self.process
        try:
            return self.process.ask(request, self._time())
        except Ended:  # because of this request, or of a cell whose effect came late?
            self._restart(patient=True)
            return self.process.ask(request, self._time())

    def _restart(self, patient: bool = False) -> None:
        while True:
            if self.process:
                self.process.stop()
            self.process = Process(self.limits, self.isolated)
            for k, request in enumerate(self.cells):
                try:
                    self.process.ask(request, self._time())
                    time.sleep(0.3 * patient)
                    if patient and self.process.child.poll() is not None:
                        raise Ended("the process ended")
                except Lost:
                    del self.cells[k]  # it ran once and will not run again
                    break
            else:
                return

    def _time(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise Lost(f"the {self.limits.total:.0f} seconds for the whole notebook are used up")
        return min(self.limits.seconds, left)
