"""A server under measurement: one process on its own core, a free port, a sure end."""
import ctypes
import os
import re
import select
import signal
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
START_LIMIT = 10  # seconds
END_LIMIT = 3


class ServerFailed(Exception):
    """Its text says what has become of the server."""


def prepare(core):
    """For preexec_fn: on its core, and ended with who started it, however that ends."""
    def apply():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if core is not None:
            os.sched_setaffinity(0, {core})
    return apply


def ended_text(code):
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with {code}"


class Server:
    """A variant's server. As a context it runs inside, and has ended behind."""

    def __init__(self, variant, built, core=None, wrapper=()):
        self.variant = variant
        self.command = [*wrapper, *variant.command(built)]
        self.core = core
        self.process = None
        self.port = None
        self.errors = None

    def __enter__(self):
        self.errors = tempfile.TemporaryFile("w+")
        try:
            # A session of its own: Ctrl-C is for the comparison, which ends its servers.
            try:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=self.errors, env=self.variant.environment(), start_new_session=True,
                    preexec_fn=prepare(self.core))
            except (OSError, subprocess.SubprocessError) as failure:
                raise ServerFailed(f"cannot be executed: {failure}") from None
            self.port = self.await_port()
        except BaseException:
            self.end()
            raise
        return self

    def await_port(self):
        """Its first line: `listening on 127.0.0.1:PORT`."""
        deadline = time.monotonic() + START_LIMIT
        output, line = self.process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                raise ServerFailed("does not listen")
            byte = os.read(output, 1)
            if not byte:
                self.process.wait()
                raise ServerFailed(self.last_words() or ended_text(self.process.returncode))
            line += byte
        found = re.search(rb":(\d+)$", line.strip())
        if not found:
            raise ServerFailed(f"says {line!r} instead of where it listens")
        return int(found[1])

    def __exit__(self, *_):
        self.end()

    def what_happened(self):
        """Why it does not run any more; None while it does."""
        code = self.process.poll()
        if code is None:
            return None
        return f"the server {ended_text(code)}: {self.last_words()}".rstrip(": ")

    def error_lines(self):
        self.errors.seek(0)
        return [line for line in self.errors.read().splitlines() if line.strip()]

    def last_words(self):
        lines = self.error_lines()
        return lines[-1] if lines else ""

    def refusal(self):
        """What it said of a connection it refused: a limit of its own, no fault."""
        return next((line for line in self.error_lines() if line.startswith("refused")), None)

    def end(self):
        """SIGTERM, a second one that ends its draining, SIGKILL. Not an error if it is gone."""
        if self.process is None:
            self.errors.close()
            return
        for number, patience in ((signal.SIGTERM, END_LIMIT), (signal.SIGTERM, 1),
                                 (signal.SIGKILL, None)):
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.process = None
