"""What one server costs: instructions and system calls per message, memory per idle connection."""
import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

from echo_server import ServerProcess, enter_namespace, pin, raise_descriptor_limit

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT_LOAD = os.path.join(ROOT, "build", "bench", "test", "bench", "load")
CORES = sorted(os.sched_getaffinity(0))


class MissingTool(Exception):
    pass


def require(tool, package):
    if not shutil.which(tool):
        raise MissingTool(f"{tool} is not installed (package {package})")


def run_load(load, server, *arguments, core=CORES[0], batch=True, timeout=90):
    """Runs the load generator against a server and returns its report."""
    done = subprocess.run([load, *server.where(), *map(str, arguments)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, preexec_fn=pin(core, batch))
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"load ended with {done.returncode}")
    return json.loads(done.stdout)


def per_message(count, little, much):
    """The difference of two runs: start, end, accepts and closes are in both and cancel out.
    count(size of the run) returns what was counted and for how many messages."""
    (cost, messages), (more_cost, more_messages) = count(little), count(much)
    if more_messages <= messages:
        raise RuntimeError(f"{more_messages} messages in the long run, {messages} in the short one")
    return (more_cost - cost) / (more_messages - messages)


def instructions(load, command):
    """User instructions per echoed message of 64 B at 128 connections, by callgrind."""
    require("valgrind", "valgrind")

    def count(seconds):
        with tempfile.TemporaryDirectory() as folder:
            wrapper = ["valgrind", "--quiet", "--tool=callgrind",
                       f"--callgrind-out-file={folder}/out.%p"]
            # Ended under load: valgrind looks for signals only after so much code was run.
            with ServerProcess(command, CORES[0], batch=True, wrapper=wrapper) as server:
                end = threading.Timer(seconds, server.process.terminate)
                end.start()
                report = run_load(load, server, "--connections", 128, "--until-closed",
                                  "--seconds", 30)
                end.join()
            total = 0
            for name in os.listdir(folder):
                with open(os.path.join(folder, name)) as file:
                    found = re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)
                total += int(found[-1]) if found else 0
        if total == 0:
            raise RuntimeError("callgrind wrote no count")
        return total, report["messages"]

    return per_message(count, 1.5, 5)


def system_calls(load, command):
    """System calls per echoed message of 64 B at 128 connections, by strace."""
    require("strace", "strace")

    def count(messages):
        with tempfile.TemporaryDirectory() as folder:
            table = os.path.join(folder, "table")
            # -D: the server is our child, not strace's, and gets the signal that ends it.
            wrapper = ["strace", "-D", "-f", "-c", "-U", "calls,name", "-o", table]
            with ServerProcess(command, CORES[0], batch=True, wrapper=wrapper) as server:
                run_load(load, server, "--connections", 128, "--messages", messages)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with open(table) as file:
                    found = re.search(r"^\s*(\d+)\s+total", file.read(), re.MULTILINE)
                if found:
                    return int(found[1]), messages
                time.sleep(0.05)
        raise RuntimeError("strace wrote no count")

    return per_message(count, 50000, 250000)


def idle_memory(load, command, connections=9500):
    """Bytes of user memory a connection adds that has echoed once and waits."""
    raise_descriptor_limit()
    with ServerProcess(command, CORES[0]) as server:
        report = run_load(load, server, "--mode", "idle", "--connections", connections, "--pid",
                          server.process.pid, core=CORES[-1], batch=False)
    return report["bytes_per_connection"]


def command_line(figure, unit, description):
    """main() of the programs that print one figure of one server."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--load", default=DEFAULT_LOAD, help="the load generator (%(default)s)")
    parser.add_argument("command", nargs=argparse.REMAINDER,
                        help="the server; PORT stands for the port")
    arguments = parser.parse_args()
    if not any("PORT" in part for part in arguments.command):
        parser.error("the server's command has no PORT in it")
    enter_namespace()
    try:
        value = figure(arguments.load, arguments.command)
    except (MissingTool, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{value:.4g} {unit}")
