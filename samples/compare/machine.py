"""What a run was made on: processor, kernel, compiler, libraries, commit, cores."""
import os
import platform
import re
import resource
import subprocess
import time

from variants import ROOT


def said(*command):
    """The output of a command, or None where it cannot be had."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, timeout=10, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def text_of(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def found(pattern, text, unknown="unknown"):
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else unknown


def asio_version():
    number = found(r"#define ASIO_VERSION (\d+)", text_of("/usr/include/asio/version.hpp"), None)
    if not number:
        return "not installed"
    return f"{int(number) // 100000}.{int(number) // 100 % 1000}.{int(number) % 100}"


def compiler(cache):
    path = found(r"^CMAKE_CXX_COMPILER:[A-Z]+=(.*)", cache, "c++")
    version = said(path, "--version")
    return version.splitlines()[0] if version else path


def flags(cache):
    kind = found(r"^CMAKE_BUILD_TYPE:[A-Z]+=(.*)", cache, "")
    used = [found(rf"^{name}:[A-Z]+=(.*)", cache, "")
            for name in ("CMAKE_CXX_FLAGS", f"CMAKE_CXX_FLAGS_{kind.upper()}")]
    kept = [flag for flag in " ".join(used).split() if not flag.startswith("-W")]
    return f"{kind} ({' '.join(kept)}; and warnings)"


def commit():
    known = said("git", "rev-parse", "--short=12", "HEAD")
    if not known:
        return "unknown"
    changed = said("git", "status", "--porcelain", "--untracked-files=no")
    return known + (", with changes" if changed else "")


def describe(built):
    """Name to text, in the order they are shown in."""
    processor = text_of("/proc/cpuinfo")
    cache = text_of(os.path.join(os.path.dirname(os.path.abspath(built)), "CMakeCache.txt"))
    model = found(r"^model name\s*:\s*(.*)", processor, platform.machine())
    speed = found(r"^cpu MHz\s*:\s*([\d.]+)", processor, None)
    memory = found(r"^MemTotal:\s*(\d+)", text_of("/proc/meminfo"), None)
    return {
        "processor": model + (f", {float(speed) / 1000:.1f} GHz" if speed else ""),
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "virtual": "yes" if re.search(r"^flags.*\bhypervisor\b", processor, re.M) else "not seen",
        "memory": f"{int(memory) / (1 << 20):.1f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "system": found(r'^PRETTY_NAME="?([^"\n]*)', text_of("/etc/os-release")),
        "compiler": compiler(cache),
        "build": flags(cache),
        "liburing": said("pkg-config", "--modversion", "liburing") or "unknown",
        "fmt": said("pkg-config", "--modversion", "fmt") or "unknown",
        "Asio": asio_version(),
        "rondo": commit(),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
    }


class ProcessorTime:
    """What all processors have done from one moment on. Not the load average: that remembers for
    minutes, and would tell of the build that has just made what is compared."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        """proc(5): user, nice, system, idle, iowait, irq, softirq, steal; in ticks."""
        return [int(field) for field in text_of("/proc/stat").split("\n")[0].split()[1:9]]

    def shares(self):
        """Of the time since then: what was used here, and what the host has given to others."""
        spent = [now - before for now, before in zip(self.now(), self.before)]
        whole = max(sum(spent), 1)
        stolen = spent[7]
        idle = spent[3] + spent[4]
        return (whole - idle - stolen) / whole, stolen / whole


def used_by_others(seconds=1.0):
    """The share of the processors' time that is used, or stolen, while this program does nothing."""
    since = ProcessorTime()
    time.sleep(seconds)
    return sum(since.shares())


def siblings(processor):
    """The processors that are one core with this one, itself included: they share its time."""
    text = text_of(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    found_here = {processor}
    for part in text.strip().split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        found_here.update(range(int(first), int(last or first) + 1))
    return found_here


def choose_cores():
    """A processor for the server and another for the load: of another core where there is one, and
    the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    apart = [each for each in usable if each not in siblings(usable[0])]
    return usable[0], (apart or usable)[-1]


def load_core_text(server_core, load_core):
    if server_core == load_core:
        return f"{load_core}, the server's: there is only one, and they take it in turns"
    shared = load_core in siblings(server_core)
    return f"{load_core}" + ", a sibling of the server's: the two share a core" * shared


def raise_descriptor_limit():
    """To the hard limit, for all that is started here; returns it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 30
