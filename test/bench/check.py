#!/usr/bin/env python3
"""Checks that an echo server is correct before it is measured: a server that drops bytes is fast.

usage: check.py LOAD SERVER...      (PORT in SERVER stands for the port)

Runs every scenario twice, the second time with socket buffers of a few KiB where this is possible
(root, own network namespace), which makes most sends short.
"""
import random
import socket
import struct
import subprocess
import sys
import threading

from echo_server import ServerProcess, enter_namespace

PATTERN = random.Random(1).randbytes(1 << 20)


def connect(port, receive_buffer=None):
    peer = socket.socket()
    if receive_buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.settimeout(20)
    peer.connect(("127.0.0.1", port))
    return peer


def read_and_compare(peer, total):
    at = 0
    while at < total:
        data = peer.recv(1 << 16)
        assert data, f"end of the stream after {at} of {total} bytes"
        start = at % len(PATTERN)
        expected = (PATTERN[start:] + PATTERN)[:len(data)]
        assert data == expected, f"wrong bytes near {at}"
        at += len(data)


def reader_that_stops(port):
    """Sends 24 MiB without reading, ends its side, then reads all of it."""
    peer = connect(port, 8192)
    total = 24 << 20
    writer = threading.Thread(target=lambda: (
        [peer.sendall(PATTERN) for _ in range(total >> 20)], peer.shutdown(socket.SHUT_WR)))
    writer.start()
    writer.join(0.3)
    read_and_compare(peer, total)
    writer.join()
    assert peer.recv(1) == b"", "no end of the stream after the last byte"
    peer.close()


def end_after_message(port):
    """The end of the stream right behind the bytes: all of them come back first."""
    for size in (1, 64, 5000, 16384, 16385, 100000, 1 << 20):
        peer = connect(port)
        threading.Thread(
            target=lambda: (peer.sendall(PATTERN[:size]), peer.shutdown(socket.SHUT_WR))).start()
        read_and_compare(peer, size)
        assert peer.recv(1) == b"", "no end of the stream"
        peer.close()


def byte_at_a_time(port):
    peer = connect(port)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(3000):
        peer.sendall(PATTERN[at:at + 1])
    read_and_compare(peer, 3000)
    peer.close()


def resets(port):
    """Peers that reset the connection while the server still has bytes for them."""
    for round_ in range(200):
        peer = connect(port, 4096)
        peer.setblocking(False)
        try:
            for _ in range(round_ % 8):
                peer.send(PATTERN)
        except OSError:
            pass
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()


def stalled_peers(port, load):
    """150 peers that send and never read must not stop the others."""
    stalled = []
    for _ in range(150):
        peer = connect(port, 4096)
        peer.setblocking(False)
        try:
            while True:
                peer.send(PATTERN)
        except BlockingIOError:
            stalled.append(peer)
    run_load(load, port, 16, 4096, 2000)
    for peer in stalled[::2]:
        peer.close()
    run_load(load, port, 16, 4096, 2000)
    for peer in stalled[1::2]:
        peer.close()
    run_load(load, port, 16, 64, 2000)


def run_load(load, port, connections, size, messages, mode="echo"):
    subprocess.run([load, "--port", str(port), "--connections", str(connections), "--size",
                    str(size), "--messages", str(messages), "--mode", mode], check=True,
                   stdout=subprocess.DEVNULL, timeout=120)


def sizes(port, load):
    for size in (1, 2, 63, 64, 1000, 4096, 16383, 16384, 16385, 65536, 200000, 1 << 20):
        for connections in (1, 16, 128):
            # A server may leave Nagle's algorithm on: 40 ms for some sizes.
            messages = max(200, min(200 * connections, (64 << 20) // size))
            if connections * size <= 32 << 20:
                run_load(load, port, connections, size, messages)
    run_load(load, port, 4000, 64, 40000)
    run_load(load, port, 32, 64, 5000, "accept")


def small_socket_buffers():
    try:
        for name in ("tcp_wmem", "tcp_rmem"):
            with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
                file.write("4096 8192 16384")
        return True
    except OSError:
        return False


def check(load, command):
    with ServerProcess(command) as server:
        for scenario in (end_after_message, byte_at_a_time, resets, reader_that_stops):
            scenario(server.port)
            print("  ok", scenario.__name__, flush=True)
        stalled_peers(server.port, load)
        print("  ok stalled_peers", flush=True)
        sizes(server.port, load)
        print("  ok sizes", flush=True)
        assert server.process.poll() is None, "the server ended"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    own = enter_namespace()
    load, command = sys.argv[1], sys.argv[2:]
    print("default socket buffers:")
    check(load, command)
    if own and small_socket_buffers():
        print("small socket buffers:")
        check(load, command)


if __name__ == "__main__":
    main()
