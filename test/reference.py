#!/usr/bin/env python3
"""The reference, built by Doxygen without a warning, and whether it says what it is read for:
`reference.py`. Every public function that returns something to await must have its contract there.

Ends with 1 where one has none, or where functions that each user knows are not found at all.
"""
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "reference"

# By value: what is in `detail` and has a name of its own is an operation.
AWAITABLE = re.compile(
    r"(task|auto|decltype\(auto\)|(\w+_)?awaiter|scripted_(receive|send)\w*)(<.*>)?"
    r"|detail::(?!stored_t)\w+(<.*>)?")
KNOWN = {
    "rondo::tcp_listener::accept", "rondo::tcp_socket::connect", "rondo::stream_socket::recv",
    "rondo::stream_socket::send", "rondo::stream_socket::close", "rondo::stream_socket::release",
    "rondo::datagram_socket::recv_from", "rondo::datagram_socket::send_to", "rondo::tcp_serve",
    "rondo::tcp_connect", "rondo::resolve", "rondo::sleep_for", "rondo::with_timeout",
    "rondo::when_all", "rondo::when_any", "rondo::with_task_group", "rondo::channel::recv",
    "rondo::mutex::lock", "rondo::buffered_reader::read_line", "rondo::file::read",
    "rondo::pipe_end::recv", "rondo::blocking", "rondo::as_result",
    "rondo::testing::scripted_stream::recv",
}


def text(element):
    return "".join(element.itertext()).strip()


def public_functions(folder):
    """Name, type, place and description of each."""
    seen = set()
    for path in sorted(folder.glob("*.xml")):
        if not path.name.startswith(("class", "struct", "namespace")):
            continue
        for member in xml.etree.ElementTree.parse(path).iter("memberdef"):
            public = member.get("kind") == "function" and member.get("prot") == "public"
            if not public or member.get("id") in seen:
                continue
            seen.add(member.get("id"))
            place = member.find("location")
            described = text(member.find("briefdescription")) or \
                text(member.find("detaileddescription"))
            yield (member.findtext("qualifiedname"), text(member.find("type")).replace(" ", ""),
                   f"lib/{place.get('file')}:{place.get('line')}", described)


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["doxygen", "docs/Doxyfile"], cwd=ROOT).returncode != 0:
        print("reference: Doxygen has warned")
        return 1
    awaited, wrong = set(), 0
    for name, type_name, place, described in public_functions(OUTPUT / "xml"):
        if not AWAITABLE.fullmatch(type_name):
            continue
        awaited.add(name)
        if not described:
            wrong += 1
            print(f"{place}: {name} is awaited, and its reference is empty")
    for name in sorted(KNOWN - awaited):
        wrong += 1
        print(f"reference: {name} is not in it, or does not count as awaited")
    if wrong == 0:
        print(f"reference: the contracts of {len(awaited)} awaited functions are in {OUTPUT}/html")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
