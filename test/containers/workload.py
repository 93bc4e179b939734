"""What rondo can do, as programs: all samples that touch a different part of it."""
import fcntl
import os
import pathlib
import signal
import socket
import subprocess

PATIENCE = 30  # seconds


class Programs:
    """Runs samples on an engine, each behind a prefix of arguments."""

    def __init__(self, samples, engine, prefix):
        self.samples = pathlib.Path(samples)
        self.environment = {**os.environ, "RONDO_ENGINE": engine}
        self.prefix = prefix

    def start(self, name, *arguments):
        return subprocess.Popen([*self.prefix(), self.samples / name, *arguments], text=True,
                                env=self.environment, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, name, *arguments, given="", code=0):
        """Runs it to its end; returns what it printed."""
        program = self.start(name, *arguments)
        out, err = program.communicate(given, timeout=PATIENCE)
        if program.returncode != code:
            raise AssertionError(f"{name} ended with {program.returncode}: {out}{err}")
        return out


class Server:
    """A sample that prints where it listens; stopped as a user does."""

    def __init__(self, programs, name, *arguments):
        self.name = name
        self.program = programs.start(name, *arguments)
        line = self.program.stdout.readline()
        if not line.startswith("listening on "):
            self.program.kill()
            raise AssertionError(f"{name} said: {line}{self.program.communicate()[1]}")
        self.where = line.split()[2]
        self.port = int(self.where.rpartition(":")[2]) if ":" in self.where else 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.program.send_signal(signal.SIGTERM if kind is None else signal.SIGKILL)
        out, self.said = self.program.communicate(timeout=PATIENCE)
        if kind is None and self.program.returncode != 0:
            raise AssertionError(f"{self.name} ended with {self.program.returncode}: "
                                 f"{out}{self.said}")


def echo_by(family, address, message=b"hello" * 1000):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        back = b"".join(iter(lambda: client.recv(65536), b""))
    if back != message:
        raise AssertionError(f"{len(back)} bytes came back of {len(message)}")


def echo_over_tcp(programs):
    with Server(programs, "echo_server", "127.0.0.1:0") as server:
        echo_by(socket.AF_INET, ("127.0.0.1", server.port))
        programs.run("echo_client", server.where, "hello")
        server.program.send_signal(signal.SIGUSR1)
    return server.said


def echo_over_threads(programs):
    with Server(programs, "echo_server", "--threads", "2", "127.0.0.1:0") as server:
        for _ in range(4):
            echo_by(socket.AF_INET, ("127.0.0.1", server.port))
    return server.said


def echo_over_unix(programs, folder):
    path = str(folder / "echo")
    with Server(programs, "echo_server", "unix:" + path):
        echo_by(socket.AF_UNIX, path)
    # What a server left behind is replaced by the next one.
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(path)
    left.close()
    # Another that starts in the same directory would hold this lock; a server waits a while for it.
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with Server(programs, "echo_server", "unix:" + path):
        echo_by(socket.AF_UNIX, path)
    os.close(lock)


def datagrams(programs):
    with Server(programs, "udp_echo_server", "127.0.0.1:0") as server:
        programs.run("udp_client", server.where, "one", "two")
    with Server(programs, "udp_game", "127.0.0.1:0") as server:
        programs.run("udp_game", "--join", server.where, "--steps", "2")


def files(programs, folder):
    content = bytes(range(256)) * 1024
    (folder / "content").write_bytes(content)
    with Server(programs, "file_server", "127.0.0.1:0", str(folder)) as server:
        programs.run("file_fetch", server.where, "content", "--output", str(folder / "copy"))
    if (folder / "copy").read_bytes() != content:
        raise AssertionError("the file has changed on its way")


def names_and_connections(programs):
    programs.run("resolve", "localhost")
    with Server(programs, "echo_server", "127.0.0.1:0") as target:
        programs.run("port_check", target.where)
        with Server(programs, "proxy", "127.0.0.1:0", target.where) as proxy:
            echo_by(socket.AF_INET, ("127.0.0.1", proxy.port))
    programs.run("connection_states")


def chat(programs):
    with Server(programs, "chat_server", "127.0.0.1:0") as server:
        programs.run("chat_client", server.where, given="/who\n")


def everything(programs, folder):
    echo_over_tcp(programs)
    echo_over_threads(programs)
    echo_over_unix(programs, folder)
    datagrams(programs)
    files(programs, folder)
    names_and_connections(programs)
    chat(programs)
