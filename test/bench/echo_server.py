"""A server process under measurement: its own network namespace, a free port, a sure end."""
import fcntl
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

NAMESPACE_MARK = "RONDO_BENCH_NAMESPACE"


def enter_namespace():
    """Runs this script again in its own network namespace, when root: nothing else uses its
    ports, conntrack or sysctls. True inside one."""
    if os.environ.get(NAMESPACE_MARK):
        # SIOCSIFFLAGS with IFF_UP: a new namespace has its loopback down.
        with socket.socket() as control:
            fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))
        return True
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    os.environ[NAMESPACE_MARK] = "1"
    os.execvp("unshare", ["unshare", "--net", "--", sys.executable] + sys.argv)


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(port):
    """Looks instead of connecting: a connection would be part of what is measured."""
    suffix = f":{port:04X}"
    # A UDP socket that is bound and not connected is in the state of a closed one.
    listening = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
    for table, state in listening.items():
        try:
            with open(f"/proc/net/{table}") as file:
                rows = [line.split() for line in file]
        except OSError:
            continue
        if any(row[1].endswith(suffix) and row[3] == state for row in rows[1:]):
            return True
    return False


def is_listening_unix(address):
    """The same for a Unix socket: flag 10000 in its row is that of listen(2)."""
    with open("/proc/net/unix") as file:
        rows = [line.split() for line in file]
    return any(row[7:] == [address] and int(row[3], 16) & 0x10000 for row in rows[1:])


def pin(core, batch):
    """For preexec_fn: one core, and SCHED_BATCH so that server and load do not preempt each
    other at every wake-up, which makes figures repeat."""
    def apply():
        if core is not None:
            os.sched_setaffinity(0, {core})
        if batch:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return apply


class ServerProcess:
    """Starts a command (PORT stands for a free port), waits until it listens, ends it. A word
    unix:ADDRESS of the command says that it listens there instead."""

    def __init__(self, command, core=None, batch=False, wrapper=()):
        self.port = free_port()
        self.command = [*wrapper, *(part.replace("PORT", str(self.port)) for part in command)]
        self.unix = next((part[5:] for part in self.command if part.startswith("unix:")), None)
        self.pin = pin(core, batch)
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL,
                                        preexec_fn=self.pin)
        deadline = time.monotonic() + 20
        while not self.is_listening():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended at once: {' '.join(self.command)}")
            if time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"the server does not listen: {' '.join(self.command)}")
            time.sleep(0.01)
        return self

    def is_listening(self):
        return is_listening_unix(self.unix) if self.unix else is_listening(self.port)

    def where(self):
        """As the load generator takes it."""
        return ["--unix", self.unix] if self.unix else ["--port", str(self.port)]

    def __exit__(self, *_):
        self.end()

    def end(self):
        """SIGTERM, so that profilers write their results; SIGKILL after ten seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
