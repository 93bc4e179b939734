"""A sample server under attack: started, looked at from outside, ended, its counters read."""
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
from echo_server import enter_namespace, pin, raise_descriptor_limit  # noqa: E402,F401


def keep_ahead():
    """What else this machine does is not to be measured: real-time, where that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass


class Server:
    """`command` prints `listening on HOST:PORT`."""

    def __init__(self, command, engine, core, descriptors=None):
        self.command = command
        self.errors = tempfile.TemporaryFile(mode="w+")
        placed = pin(core, False)

        def prepare():
            placed()
            keep_ahead()
            if descriptors is not None:
                hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))

        environment = dict(os.environ, RONDO_ENGINE=engine)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment, preexec_fn=prepare)
        line = self.process.stdout.readline()
        found = re.search(r"listening on .*:(\d+)$", line)
        if not found:
            self.process.kill()
            raise RuntimeError(f"{command[0]} does not listen: {line}{self.error_text()}")
        self.port = int(found.group(1))

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read()

    def alive(self):
        return self.process.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def comes_to_descriptors(self, wanted, patience):
        """The count after at most `patience` seconds, earlier where it is `wanted`."""
        end = time.monotonic() + patience
        while self.descriptors() != wanted and time.monotonic() < end:
            time.sleep(0.02)
        return self.descriptors()

    def memory(self):
        """Bytes of anonymous memory."""
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next(line for line in status if line.startswith("RssAnon:"))
        return int(line.split()[1]) * 1024

    def tasks(self):
        """What its tasks wait for, as SIGUSR1 makes it say."""
        before = len(self.error_text())
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 10
        text = ""
        # The root is the first line, and the whole is written at once.
        while not text.endswith("\n") and time.monotonic() < end:
            time.sleep(0.02)
            text = self.error_text()[before:]
        return text

    def stop(self):
        """Ends it by SIGTERM; returns what it printed. Raises where it fails."""
        self.process.send_signal(signal.SIGTERM)
        try:
            output, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError(f"{self.command[0]} does not end") from None
        if self.process.returncode != 0:
            raise RuntimeError(f"{self.command[0]} ended with {self.process.returncode}: "
                               f"{self.error_text()[-2000:]}")
        return output

    def kill(self):
        if self.alive():
            self.process.kill()
            self.process.wait()


def counters(output):
    """What --stats prints: the words of its first line after each number, and the metrics."""
    found = {}
    for name, value in re.findall(r'^(rondo_\w+)\{thread="0"\} ([0-9.e+]+)$', output, re.M):
        found[name] = float(value)
    first = output.splitlines()[0] if output else ""
    patterns = {"accepted": r"accepted (\d+)", "most": r"at most (\d+) at a time",
                "timed_out": r"(\d+) timed out", "failed": r"(\d+) (?:failed|lost)",
                "at_limit": r"at the limit (\d+) times",
                "out_of_descriptors": r"out of descriptors (\d+) times"}
    for name, pattern in patterns.items():
        match = re.search(pattern, first)
        if match:
            found[name] = int(match.group(1))
    return found
