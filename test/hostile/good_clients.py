"""The well-behaved load: paced clients that check every byte, that each request has its one answer,
and how long that takes.

They run in a process of their own, which goes before all hostile ones where real-time scheduling is
allowed, and take the time of arrival from the kernel: so it is the server's time that is measured,
and not that of the peers' processes.
"""
import json
import os
import random
import select
import socket
import struct
import time
import traceback

from server import keep_ahead

PATTERN = random.Random(7).randbytes(1 << 17) * 2
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it
SETTLING = 0.1  # seconds after a change of phase in which what is sent counts for none
PATIENCE = 10   # seconds for an answer
BETWEEN = "between"  # what is sent in no phase


def percentile(times, share):
    return times[min(len(times) - 1, int(len(times) * share))]


def summary(sent, times):
    """Answers by the phase in which the request was sent, whenever they came."""
    if len(times) != sent:
        raise RuntimeError(f"{len(times)} answers to {sent} requests")
    times.sort()
    return {"count": sent, "p50": percentile(times, 0.5), "p99": percentile(times, 0.99),
            "most": times[-1]}


class Load:
    """Times by phase. Who derives from it has connect(), due(), send_due(), arrived(),
    is_waiting() and check_patience()."""

    def __init__(self, port):
        self.port = port
        self.poll = select.epoll()
        self.peers = {}
        self.sent = {}   # requests by phase
        self.times = {}  # of their answers
        self.phase = BETWEEN
        self.from_when = 0.0

    def connect_peer(self):
        peer = socket.create_connection(("127.0.0.1", self.port), 10)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.poll.register(peer, select.EPOLLIN)
        return peer

    @staticmethod
    def receive(peer):
        """Bytes, and when the last of them arrived."""
        data, notes, _, _ = peer.recvmsg(65536, 64)
        if not data:
            raise RuntimeError("the server has ended a well-behaved connection")
        for level, kind, value in notes:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                return data, seconds + nanoseconds * 1e-9
        return data, time.time()

    def readable(self, descriptor):
        client = self.peers[descriptor]
        data, now = self.receive(client.peer)
        self.arrived(client, data, now)

    def phase_at(self, now, answers):
        """The phase in which a request is sent that so many are to answer."""
        phase = self.phase if now >= self.from_when else BETWEEN
        self.sent[phase] = self.sent.get(phase, 0) + answers
        return phase

    def note(self, phase, took):
        self.times.setdefault(phase, []).append(took)

    def run(self, control):
        """A line on `control` begins the phase of that name, "-" none; its end is the end."""
        self.poll.register(control, select.EPOLLIN)
        while True:
            wait = max(0.0, self.due() - time.time())
            for descriptor, _ in self.poll.poll(min(wait, 0.5)):
                if descriptor != control:
                    self.readable(descriptor)
                    continue
                words = os.read(control, 4096).decode().split()
                if not words:
                    self.poll.unregister(control)
                    return self.end()
                self.phase = words[-1] if words[-1] != "-" else BETWEEN
                self.from_when = time.time() + SETTLING
            self.check_patience(time.time())
            self.send_due(time.time())

    def end(self):
        """Takes what is still on its way, and makes sure that nothing comes after it."""
        while self.is_waiting():
            for descriptor, _ in self.poll.poll(0.5):
                self.readable(descriptor)
            self.check_patience(time.time())
        for client in list(self.peers.values()):
            client.peer.settimeout(PATIENCE)
            client.peer.shutdown(socket.SHUT_WR)
            while data := client.peer.recv(65536):
                self.arrived(client, data, time.time())

    def result(self):
        return {phase: summary(sent, self.times.get(phase, []))
                for phase, sent in self.sent.items()}


class EchoClient:
    def __init__(self, peer, index, period):
        self.peer = peer
        self.at = index * 4099
        self.next_size = index
        self.due = time.time() + period * (index / 16)
        self.expected = None  # what is on its way back, a view
        self.phase = None     # in which it was sent
        self.began = 0.0
        self.late = False


class EchoLoad(Load):
    period = 0.01  # seconds between the messages of one connection
    sizes = [16, 64, 200, 1000, 4096, 64, 500, 64, 12000]

    def connect(self):
        for index in range(16):
            peer = self.connect_peer()
            self.peers[peer.fileno()] = EchoClient(peer, index, self.period)
            peer.sendall(b"x")  # answered, it is one of those who are served
            if peer.recv(1) != b"x":
                raise RuntimeError("wrong bytes")

    def due(self):
        return min((c.due for c in self.peers.values() if c.expected is None),
                   default=time.time() + 1)

    def send_due(self, now):
        for client in self.peers.values():
            if client.expected is not None or client.due > now:
                continue
            size = self.sizes[client.next_size % len(self.sizes)]
            client.next_size += 1
            client.at = (client.at + size) % (1 << 16)
            client.expected = memoryview(PATTERN)[client.at:client.at + size]
            client.phase = self.phase_at(now, 1)
            # Where the last answer came late, this one has waited since it was due.
            client.began = client.due if client.late else now
            client.late = False
            client.due = max(client.due + self.period, now)
            client.peer.sendall(client.expected)

    def is_waiting(self):
        return any(c.expected is not None for c in self.peers.values())

    def check_patience(self, now):
        for client in self.peers.values():
            if client.expected is not None and now - client.began > PATIENCE:
                raise RuntimeError(f"no answer for {PATIENCE} s")

    def arrived(self, client, data, now):
        if client.expected is None or data != client.expected[:len(data)]:
            raise RuntimeError("wrong bytes")
        client.expected = client.expected[len(data):]
        if not client.expected:
            client.expected = None
            client.late = now > client.due
            self.note(client.phase, now - client.began)


class ChatClient:
    def __init__(self, peer, index, due):
        self.peer = peer
        self.index = index
        self.due = due
        self.unread = b""
        self.sent = 0
        self.heard = {}  # of each other one, the last number


class Line:
    """One that not all have heard yet."""

    def __init__(self, began, phase, left):
        self.began = began
        self.phase = phase
        self.left = left  # who have not


class ChatLoad(Load):
    period = 0.04
    members = 8

    def connect(self):
        self.lines = {}  # by speaker and number, in the order in which they were sent
        for index in range(self.members):
            peer = self.connect_peer()
            due = time.time() + self.period * (index / self.members)
            self.peers[peer.fileno()] = ChatClient(peer, index, due)
            peer.sendall(b"/nick good%d\n" % index)
            answer = b""
            while b" is now good%d\n" % index not in answer:
                more = peer.recv(4096)
                if not more:
                    raise RuntimeError("the chat does not take the name")
                answer += more

    def due(self):
        return min(c.due for c in self.peers.values())

    def send_due(self, now):
        for client in self.peers.values():
            if client.due > now:
                continue
            client.due = max(client.due + self.period, now)
            client.sent += 1
            others = self.members - 1
            self.lines[client.index, client.sent] = Line(now, self.phase_at(now, others), others)
            filler = b"x" * (client.sent % 200)
            client.peer.sendall(b"%d %s\n" % (client.sent, filler))

    def is_waiting(self):
        return bool(self.lines)

    def check_patience(self, now):
        for (speaker, number), line in self.lines.items():
            if now - line.began > PATIENCE:
                raise RuntimeError(f"line {number} of good{speaker} is lost to {line.left}")
            break  # all others were sent later

    def arrived(self, client, data, now):
        *lines, client.unread = (client.unread + data).split(b"\n")
        for line in lines:
            if line.startswith(b"good"):
                self.hear(client, line, now)

    def hear(self, client, text, now):
        name, said = text.split(b": ", 1)
        speaker = int(name[4:])
        number, filler = said.split(b" ", 1)
        number = int(number)
        before = client.heard.get(speaker, 0)
        if number != before + 1:
            raise RuntimeError(f"line {number} of good{speaker} came after {before}")
        if filler != b"x" * (number % 200):
            raise RuntimeError("wrong bytes")
        client.heard[speaker] = number
        line = self.lines[speaker, number]
        self.note(line.phase, now - line.began)
        line.left -= 1
        if line.left == 0:
            del self.lines[speaker, number]


class GoodClients:
    """A Load in a process of its own."""

    def __init__(self, load, core):
        control, self.control = os.pipe()
        self.result, result = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.control)
            os.close(self.result)
            self.child(load, core, control, result)
        os.close(control)
        os.close(result)
        if os.read(self.result, 1) != b"!":
            self.finish()
            raise RuntimeError("the well-behaved clients cannot connect")

    @staticmethod
    def child(load, core, control, result):
        code = 1
        try:
            if core is not None:
                os.sched_setaffinity(0, {core})
            keep_ahead()
            load.connect()
            os.write(result, b"!")
            load.run(control)
            text = json.dumps(load.result())
            os.write(result, text.encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def begin(self, phase):
        try:
            os.write(self.control, phase.encode() + b"\n")
        except BrokenPipeError:
            raise RuntimeError("a well-behaved client has failed") from None

    def finish(self):
        """Times by phase, in seconds. Raises where a client was wronged."""
        os.close(self.control)
        text = b""
        while more := os.read(self.result, 65536):
            text += more
        os.close(self.result)
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        if status != 0:
            raise RuntimeError("a well-behaved client has failed")
        return json.loads(text)
