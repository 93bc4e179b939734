"""Hostile peers: each kind does a bounded amount of harm in each of its steps, so that it is the
server that is measured, and not who is quicker at wasting processor time."""
import errno
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
import traceback

RESET = struct.pack("ii", 1, 0)  # SO_LINGER


class Peers:
    """What all kinds share. `count` is what they have done, in their own unit; `ended` how many of
    their connections the server has ended, as far as they look."""

    interval = 0.05  # seconds between steps

    def __init__(self, port, chat, limit):
        self.port = port
        self.chat = chat
        self.limit = limit  # connections that the server takes, or None
        self.sockets = []
        self.count = 0
        self.ended = 0
        self.random = random.Random(3)

    def connect(self, source=None, buffers=None):
        """A non-blocking one, connected as soon as the server's backlog has a place for it."""
        peer = socket.socket()
        if buffers:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        peer.setblocking(False)
        try:
            if source:
                peer.bind((source, 0))
            peer.connect(("127.0.0.1", self.port))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAGAIN):
                raise
            peer.close()
            return None
        self.sockets.append(peer)
        return peer

    def send(self, peer, data):
        """Bytes sent; 0 where there is no room, None where the connection is gone."""
        try:
            return peer.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self.ended += 1
            self.drop(peer)
            return None

    def discard(self, peer):
        try:
            while peer.recv(65536):
                pass
        except BlockingIOError:
            return
        except OSError:
            pass
        self.ended += 1
        self.drop(peer)

    def drop(self, peer, reset=False):
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peer.close()
        if peer in self.sockets:
            self.sockets.remove(peer)

    def step(self):
        raise NotImplementedError

    def end(self):
        for peer in list(self.sockets):
            self.drop(peer)


class SlowLoris(Peers):
    """Many connections, each with one byte now and then; in the chat, never the end of a line.
    Half of them are slower than most time-outs."""

    name = "slow loris"
    unit = "bytes"
    most = 100

    def step(self):
        while len(self.sockets) < self.most:
            if not self.connect():
                break
        half = self.most // 2
        quick, slow = self.sockets[:half], self.sockets[half:]
        chosen = self.random.sample(quick, min(10, len(quick)))
        if slow and self.random.random() < 0.6:  # each every 4 s
            chosen.append(self.random.choice(slow))
        for peer in chosen:
            if self.send(peer, b"x"):
                self.count += 1
        for peer in self.random.sample(self.sockets, min(20, len(self.sockets))):
            self.discard(peer)


class HalfOpen(Peers):
    """Peers that send and vanish: their address is taken away, so that nothing they are sent
    arrives anywhere. Where this may not be, they only never take nor say anything again."""

    name = "half-open"
    unit = "connections"
    most = 60
    network = "10.77.0."

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.vanishes = os.environ.get("RONDO_BENCH_NAMESPACE") and shutil.which("ip")
        self.round = 0

    def address(self, verb):
        subprocess.run(["ip", "addr", verb, f"{self.network}{self.round % 250 + 1}/32", "dev",
                        "lo"], check=True)

    def step(self):
        if len(self.sockets) >= self.most:
            for peer in self.sockets[:10]:
                self.drop(peer)
        self.round += 1
        if self.vanishes:
            self.address("add")
        source = f"{self.network}{self.round % 250 + 1}" if self.vanishes else None
        made = [self.connect(source) for _ in range(2 if self.chat else 10)]
        time.sleep(0.02)  # for the handshake
        for peer in made:
            if peer and self.send(peer, b"/who\n" if self.chat else b"y" * 2000):
                self.count += 1
        if self.vanishes:
            self.address("del")


class Resets(Peers):
    """Connect, send, reset, again and again."""

    name = "reset storm"
    unit = "connections"
    interval = 0.02

    def step(self):
        for peer in list(self.sockets):
            size = self.random.choice([0, 1, 100, 60000])
            if size:
                self.send(peer, b"z" * size)
            if peer in self.sockets:
                self.drop(peer, reset=True)
            self.count += 1
        # In a chat each one is two lines to everybody.
        for _ in range(1 if self.chat else 10):
            self.connect()


class Flood(Peers):
    """Connections that say nothing, twice as many as the server takes."""

    name = "connect flood"
    unit = "connections"
    interval = 0.02

    def step(self):
        # In a chat each one is a line to everybody.
        most = self.limit * 3 // 2
        wanted = 10 if len(self.sockets) < most else 20
        if self.chat:
            wanted = self.random.randrange(2)
        for _ in range(wanted):
            if self.connect():
                self.count += 1
        while len(self.sockets) > most:
            self.drop(self.sockets[0])
        for peer in self.sockets[:20]:
            self.discard(peer)


class StoppedReaders(Peers):
    """They ask for as much as the server gives, and take nothing of it."""

    name = "stopped readers"
    unit = "bytes"
    most = 50

    def __init__(self, *arguments, most=None, patient=False):
        super().__init__(*arguments)
        self.most = most or self.most
        self.patient = patient
        self.data = b"/who\n/help\n" * 400 if self.chat else self.random.randbytes(16384)

    def step(self):
        while len(self.sockets) < self.most:
            if not self.connect(buffers=8192):
                break
        if not self.patient and self.sockets and self.random.random() < 0.1:
            self.drop(self.sockets[0])
        for peer in self.random.sample(self.sockets, min(10, len(self.sockets))):
            while sent := self.send(peer, self.data):
                self.count += sent
                if self.chat:
                    break

    def fill(self):
        """All of them are stuck: none has taken a byte for a while."""
        end = time.monotonic() + 20
        quiet = 0
        while quiet < 5 and time.monotonic() < end:
            before = self.count
            while len(self.sockets) < self.most and self.connect(buffers=8192):
                pass
            for peer in list(self.sockets):
                while sent := self.send(peer, self.data):
                    self.count += sent
            quiet = quiet + 1 if self.count == before else 0
            time.sleep(0.02)
        return quiet >= 5


class Garbage(Peers):
    """Noise: control characters, no UTF-8, lines without an end, half-closed in the middle."""

    name = "garbage"
    unit = "bytes"
    most = 20

    def step(self):
        while len(self.sockets) < self.most:
            if not self.connect():
                break
        for peer in self.random.sample(self.sockets, min(3, len(self.sockets))):
            size = self.random.choice([1, 50, 900, 5000, 50000])
            noise = self.random.randbytes(size)
            if self.chat:
                # Its own lines, not those of everybody, are what a bad one may lose.
                noise = noise.replace(b"\n", b"\0")
                noise += self.random.choice([b"\n", b"", b"\r\n/nick \xff\xfe\n", b"\n/quit\n"])
            self.count += self.send(peer, noise) or 0
            if peer in self.sockets and self.random.random() < 0.1:
                try:
                    peer.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
        for peer in list(self.sockets):
            self.discard(peer)


KINDS = [SlowLoris, HalfOpen, Resets, Flood, StoppedReaders, Garbage]


class HostileProcess:
    """Runs kinds of peers in a process that yields to everybody."""

    def __init__(self, kinds, port, chat, limit, core):
        self.counts, report = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            self.child(kinds, port, chat, limit, core, report)
        os.close(report)

    @staticmethod
    def child(kinds, port, chat, limit, core, report):
        code = 1
        try:
            if core is not None:
                os.sched_setaffinity(0, {core})
            os.nice(10)
            stopped = []
            signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
            peers = [kind(port, chat, limit) for kind in kinds]
            due = [0.0] * len(peers)
            while not stopped:
                now = time.monotonic()
                for index, each in enumerate(peers):
                    if due[index] <= now:
                        each.step()
                        due[index] = now + each.interval
                time.sleep(0.005)
            for each in peers:
                each.end()
            told = {each.name: (each.count, each.unit, each.ended) for each in peers}
            os.write(report, json.dumps(told).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def end(self):
        """What each kind has done: a count, its unit, and how many the server has ended."""
        os.kill(self.process, signal.SIGTERM)
        text = b""
        while more := os.read(self.counts, 65536):
            text += more
        os.close(self.counts)
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        if status != 0:
            raise RuntimeError("the hostile peers have failed themselves")
        return json.loads(text)
