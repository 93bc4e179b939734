#!/usr/bin/env python3
"""The reference, built by Doxygen without a warning, and whether it says what it is read for:
`reference.py`. Every public function that returns something to await must have its contract there,
each overload its own, since each stands alone on its page: when it completes or what it returns,
and what else ends it, a failure or a cancellation. Or it names the function whose contract it has,
`As send(const_buffer)`, which must be there and have one.

Ends with 1 where one has none, or where functions that each user knows are not found at all.
"""
import collections
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


OUTCOME = re.compile(r"\b(?:completes|returns|never suspends)\b", re.IGNORECASE)
OTHER_END = re.compile(r"\b(?:throws?|thrown|cancel\w*|never fails)\b", re.IGNORECASE)
REFERENCE = re.compile(r"\b[Aa]s ((?:\w+::)*\w+)\(")


class Function:
    """One that is awaited; `scopes` are those in which a name of its description is looked up."""

    def __init__(self, name, scopes, place, described):
        self.name, self.scopes, self.place, self.described = name, scopes, place, described

    def has_own_contract(self):
        return bool(OUTCOME.search(self.described) and OTHER_END.search(self.described))

    def meant(self):
        """What it may mean by each `As name()`, the nearest first."""
        for name in REFERENCE.findall(self.described):
            yield [f"{scope}::{name}" for scope in self.scopes]


def without_contract(functions):
    """Those whose description is none, and has none by reference."""
    by_name = collections.defaultdict(list)
    for function in functions:
        by_name[function.name].append(function)

    def refers(function):
        for names in function.meant():
            found = next((by_name[name] for name in names if name in by_name), [])
            if any(other is not function and holds(other) for other in found):
                return True
        return False

    # One reference after another, but not in a circle.
    holding = set()

    def holds(function):
        return id(function) in holding

    before = -1
    while before != len(holding):
        before = len(holding)
        holding |= {id(each) for each in functions if each.has_own_contract() or refers(each)}
    return [each for each in functions if not holds(each)]


def text(element):
    return "".join(element.itertext()).strip()


def plain(name):
    """Without template arguments."""
    return name.split("<")[0].strip()


def scopes(name, bases):
    """The class of `name`, its bases, and the namespaces around it."""
    scope = name.rpartition("::")[0]
    found, open_ones = [], [scope]
    while open_ones:
        found.append(open_ones.pop(0))
        open_ones += bases.get(found[-1], [])
    while "::" in scope:
        scope = scope.rpartition("::")[0]
        found.append(scope)
    return found


def awaited_functions(folder):
    seen, bases, members = set(), {}, []
    for path in sorted(folder.glob("*.xml")):
        if not path.name.startswith(("class", "struct", "namespace")):
            continue
        for compound in xml.etree.ElementTree.parse(path).iter("compounddef"):
            own = compound.findtext("compoundname")
            named = [plain(text(base)) for base in compound.findall("basecompoundref")]
            bases[own] = [name if "::" in name else f"{own.rpartition('::')[0]}::{name}"
                          for name in named]
            members += compound.iter("memberdef")
    for member in members:
        public = member.get("kind") == "function" and member.get("prot") == "public"
        if not public or member.get("id") in seen:
            continue
        seen.add(member.get("id"))
        if not AWAITABLE.fullmatch(text(member.find("type")).replace(" ", "")):
            continue
        name, place = member.findtext("qualifiedname"), member.find("location")
        described = " ".join(text(member.find(kind))
                             for kind in ("briefdescription", "detaileddescription"))
        yield Function(name, scopes(name, bases), f"lib/{place.get('file')}:{place.get('line')}",
                       described.strip())


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["doxygen", "docs/Doxyfile"], cwd=ROOT).returncode != 0:
        print("reference: Doxygen has warned")
        return 1
    functions = list(awaited_functions(OUTPUT / "xml"))
    awaited = {each.name for each in functions}
    wrong = 0
    for each in without_contract(functions):
        wrong += 1
        print(f"{each.place}: {each.name} is awaited, and its reference is no contract: "
              f"\"{each.described}\"")
    for name in sorted(KNOWN - awaited):
        wrong += 1
        print(f"reference: {name} is not in it, or does not count as awaited")
    if wrong == 0:
        print(f"reference: the contracts of {len(functions)} awaited functions are in "
              f"{OUTPUT}/html")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
