#!/usr/bin/env python3
"""The reference, built by Doxygen without a warning, and whether it says what it is read for:
`reference.py`. Every public function that returns something to await must have its contract there,
each overload its own, since each stands alone on its page: when it completes or what it returns,
and what else ends it, a failure or a cancellation. Or it names the function whose contract it has,
`As send(const_buffer)`, which must be there and have one. Where it concerns them, they must say

* how long what is borrowed must live, of a span, a view, a buffer or a reference (endpoints and
  other addresses are copied);
* what 0 means, where a buffer of the caller's is filled and the count returned;
* what may overlap, and what a cancellation does: there or at the class, for all of its functions.

These are looked for by the words that say such things, so that none is forgotten: whether they are
right is for the tests. Ends with 1 where one is missing, or where functions that each user knows
are not found at all.
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

ADDRESS = re.compile(r"const (?:endpoint|unix_address|Address) ?&")
BORROWED = re.compile(r"\bspan\b|\bconst_buffer\b|\bstring_view\b|[^&]&(?!&)")
LIFE = re.compile(r"\bmust (?:live|stay open)\b|\bneed not live\b|\bwith (?:\w+ ){0,3}copies\b")
FILLED = re.compile(r"span< std::byte >|std::vector< T > &")
COUNT = re.compile(r"\breturns [^.;]*\b(?:count|how many|size)\b", re.IGNORECASE)
ZERO = re.compile(r"\b0\b")
OVERLAP = re.compile(r"\boverlap\b|\bone (?:\w+ ){0,4}at a time\b|\bany number of tasks\b"
                     r"|\bcounts as a\b|\bawaited once\b", re.IGNORECASE)
CANCEL = re.compile(r"(?:\b|_)cancel|\bnever (?:throws|fails)\b", re.IGNORECASE)


class Function:
    """One that is awaited; `scopes` are those in which a name of its description is looked up,
    `takes` the types of its parameters, and `around` what is said of its class and the bases of
    that: None of a free function."""

    def __init__(self, name, scopes, place, described, takes=(), around=None):
        self.name, self.scopes, self.place, self.described = name, scopes, place, described
        self.takes, self.around = takes, around

    def unsaid(self, said):
        """What its contract leaves out, if `said` is that and those it refers to."""
        takes = [each for each in self.takes if not ADDRESS.fullmatch(each)]
        if any(BORROWED.search(each) for each in takes) and not LIFE.search(said):
            yield "how long what it borrows must live"
        filled = any(FILLED.search(each) for each in takes)
        if filled and COUNT.search(said) and not ZERO.search(said):
            yield "what 0 means"
        at_class = f"{said} {self.around or ''}"
        if self.around is not None and not OVERLAP.search(at_class):
            yield "what may overlap, nor does its class"
        if not CANCEL.search(at_class):
            yield "what a cancellation does, nor does its class"

    def has_own_contract(self):
        return bool(OUTCOME.search(self.described) and OTHER_END.search(self.described))

    def meant(self):
        """What it may mean by each `As name()`, the nearest first."""
        for name in REFERENCE.findall(self.described):
            yield [f"{scope}::{name}" for scope in self.scopes]


def named(functions):
    by_name = collections.defaultdict(list)
    for function in functions:
        by_name[function.name].append(function)
    return by_name


def referred(function, by_name):
    """For each function that it names, the overloads of that."""
    for names in function.meant():
        found = next((by_name[name] for name in names if name in by_name), [])
        yield [other for other in found if other is not function]


def unsaid(functions):
    """Pairs of a function and what its contract does not say, nor those it refers to."""
    by_name = named(functions)
    for function in functions:
        open_ones, said = [function], []
        while open_ones:
            said.append(open_ones.pop())
            for others in referred(said[-1], by_name):
                open_ones += [each for each in others if each not in said + open_ones]
        for missing in function.unsaid(" ".join(each.described for each in said)):
            yield function, missing


def without_contract(functions):
    """Those whose description is none, and has none by reference."""
    by_name = named(functions)

    def refers(function):
        return any(holds(other) for others in referred(function, by_name) for other in others)

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


def description(element):
    return " ".join(text(element.find(kind)) for kind in ("briefdescription", "detaileddescription")
                    if element.find(kind) is not None).strip()


def awaited_functions(folder):
    seen, bases, members, classes = set(), {}, [], {}
    for path in sorted(folder.glob("*.xml")):
        if not path.name.startswith(("class", "struct", "namespace")):
            continue
        for compound in xml.etree.ElementTree.parse(path).iter("compounddef"):
            own = compound.findtext("compoundname")
            of = [plain(text(base)) for base in compound.findall("basecompoundref")]
            bases[own] = [name if "::" in name else f"{own.rpartition('::')[0]}::{name}"
                          for name in of]
            if path.name.startswith(("class", "struct")):
                classes[own] = description(compound)
            members += compound.iter("memberdef")
    for member in members:
        public = member.get("kind") == "function" and member.get("prot") == "public"
        if not public or member.get("id") in seen:
            continue
        seen.add(member.get("id"))
        if not AWAITABLE.fullmatch(text(member.find("type")).replace(" ", "")):
            continue
        name, place = member.findtext("qualifiedname"), member.find("location")
        known = scopes(name, bases)
        of_class = [classes[scope] for scope in known if scope in classes]
        yield Function(name, known, f"lib/{place.get('file')}:{place.get('line')}",
                       description(member),
                       [text(param.find("type")) for param in member.findall("param")],
                       " ".join(of_class) if of_class else None)


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
    for each, missing in unsaid(functions):
        wrong += 1
        print(f"{each.place}: {each.name} does not say {missing}")
    for name in sorted(KNOWN - awaited):
        wrong += 1
        print(f"reference: {name} is not in it, or does not count as awaited")
    if wrong == 0:
        print(f"reference: the contracts of {len(functions)} awaited functions are in "
              f"{OUTPUT}/html")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
