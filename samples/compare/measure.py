"""One round: the load generator against one server, and what came of it as a row."""
import json
import os
import subprocess

from server import prepare


class LoadFailed(Exception):
    """Its text is the load generator's own."""


def run_load(load, port, point, core, seconds, warm_up, rate=0, pid=None):
    """Its report, as parsed JSON."""
    command = [load, f"127.0.0.1:{port}", "--profile", point.profile,
               "--connections", str(point.connections), "--size", str(point.size),
               "--seconds", f"{seconds:g}", "--warm-up", f"{warm_up:g}", "--json"]
    if rate:
        command += ["--rate", str(rate)]
    if pid is not None:
        command += ["--pid", str(pid)]
    # RONDO_ENGINE is for servers: the load is the same for all of them, on what it chooses itself.
    environment = {name: text for name, text in os.environ.items() if name != "RONDO_ENGINE"}
    patience = 3 * (seconds + warm_up) + 20 + point.connections / 200
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=patience, env=environment,
                              start_new_session=True, preexec_fn=prepare(core))
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"no result after {patience:.0f} s") from None
    except (OSError, subprocess.SubprocessError) as failure:
        raise LoadFailed(f"the load does not start: {failure}") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise LoadFailed(said[-1] if said else f"the load ended with {done.returncode}")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise LoadFailed(f"the load wrote no JSON: {done.stdout[:80]!r}") from None
    if not isinstance(report, dict) or not {"messages", "seconds", "rate"} <= report.keys():
        raise LoadFailed(f"the load wrote no report: {done.stdout[:80]!r}")
    return report


def row_of(report):
    """The columns of a round. What the report does not know is None."""
    latency, server = report.get("latency_us", {}), report.get("server", {})
    messages = report["messages"]
    switches = [server.get(kind) for kind in ("voluntary_switches", "involuntary_switches")]
    known = None not in switches and messages > 0
    return {
        "messages": messages,
        "seconds": report["seconds"],
        "rate": report["rate"],
        "bytes_per_second": report.get("bytes_per_second"),
        "p50_us": latency.get("p50"),
        "p99_us": latency.get("p99"),
        "p99_9_us": latency.get("p99_9"),
        "max_us": latency.get("max"),
        "due": report.get("due"),
        "unanswered": report.get("unanswered"),
        "behind": report.get("behind"),
        "server_cpu": server.get("cpu"),
        "cpu_us_per_message": server.get("cpu_us_per_message"),
        "switches_per_message": sum(switches) / messages if known else None,
        "rss_bytes": server.get("rss_bytes"),
        "idle_bytes_per_connection": server.get("idle_bytes_per_connection"),
        "load_cpu": report.get("load_cpu"),
    }


def is_beyond(point, variant):
    """Whether that kind of server cannot do the point anywhere."""
    most = variant.most_connections
    # Short connections wait in the backlog until their turn comes.
    return bool(most) and point.connections > most and not (most == 1 and point.profile == "short")


def why_not(point, variant, built, descriptors):
    """Why the variant cannot do this point at all; None where it can be tried."""
    if not variant.program:
        return "no chat server of this kind"
    if not os.access(os.path.join(built, variant.program), os.X_OK):
        return f"not installed: {variant.package}" if variant.package else "not built"
    if is_beyond(point, variant):
        return variant.why_not_more
    needed = point.connections + 64
    if needed > descriptors:
        return f"{needed} descriptors are needed, the limit is {descriptors}"
    return None
