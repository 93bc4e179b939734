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
right is for the tests.

Every type that users see, namespaces' types and what is nested in a class, must say what it is for.
All of these must stand on a page of the HTML, as Doxygen leaves out what is in a namespace or class
without a description; and what the first page names must be a link there. Ends with 1 where
anything is missing, or where functions that each user knows are not found at all.
"""
import collections
import functools
import pathlib
import re
import shutil
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

    def __init__(self, member, scopes, around=None):
        self.name, self.identifier = member.findtext("qualifiedname"), member.get("id")
        self.scopes, self.place, self.described = scopes, place(member), description(member)
        self.takes = [text(param.find("type")) for param in member.findall("param")]
        self.around = around

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


def place(element):
    found = element.find("location")
    return f"lib/{found.get('file')}:{found.get('line')}"


class Type:
    def __init__(self, name, element):
        self.name, self.identifier = name, element.get("id")
        self.place, self.described = place(element), description(element)


def types(folder):
    """Those that users see, or who derives from a class of ours. A name for another type needs no
    text within a class, where its own name is enough."""
    for path in sorted(folder.glob("*.xml")):
        for compound in xml.etree.ElementTree.parse(path).iter("compounddef"):
            if compound.get("kind") in ("class", "struct", "union", "concept"):
                # A concept has no protection.
                if compound.get("prot") != "private":
                    yield Type(compound.findtext("compoundname"), compound)
            elif compound.get("kind") != "namespace":
                continue
            kinds = ("enum", "typedef") if compound.get("kind") == "namespace" else ("enum",)
            for member in compound.iter("memberdef"):
                if member.get("kind") in kinds and member.get("prot") != "private":
                    yield Type(member.findtext("qualifiedname"), member)


@functools.cache
def page(path):
    return path.read_text() if path.exists() else ""


def is_shown(html, identifier):
    """A class has a page of its own; of a member, its description stands on one."""
    compound, _, anchor = identifier.rpartition("_1")
    return (html / f"{identifier}.html").exists() or f'id="{anchor}"' in page(
        html / f"{compound}.html")


def unlinked(first_page):
    """What it names of ours, and no link leads there."""
    return re.findall(r"rondo::[\w:]+", re.sub(r"<a\b.*?</a>|<[^>]*>", "", first_page))


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
        known = scopes(member.findtext("qualifiedname"), bases)
        of_class = [classes[scope] for scope in known if scope in classes]
        yield Function(member, known, " ".join(of_class) if of_class else None)


def missing_text(functions, all_types):
    for each in without_contract(functions):
        yield (f"{each.place}: {each.name} is awaited, and its reference is no contract: "
               f"\"{each.described}\"")
    for each, missing in unsaid(functions):
        yield f"{each.place}: {each.name} does not say {missing}"
    for each in all_types:
        if not each.described:
            yield f"{each.place}: {each.name} does not say what it is for"


def missing_pages(functions, all_types, html):
    for each in functions + all_types:
        if not is_shown(html, each.identifier):
            yield f"{each.place}: {each.name} stands on no page"
    for name in unlinked(page(html / "index.html")):
        yield f"docs/reference.md: {name} leads nowhere"
    for name in sorted(KNOWN - {each.name for each in functions}):
        yield f"reference: {name} is not in it, or does not count as awaited"


def main():
    # Pages of types that are gone would remain.
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    if subprocess.run(["doxygen", "docs/Doxyfile"], cwd=ROOT).returncode != 0:
        print("reference: Doxygen has warned")
        return 1
    functions = list(awaited_functions(OUTPUT / "xml"))
    all_types = list(types(OUTPUT / "xml"))
    missing = [*missing_text(functions, all_types),
               *missing_pages(functions, all_types, OUTPUT / "html")]
    print("\n".join(missing) if missing else
          f"reference: the contracts of {len(functions)} awaited functions and {len(all_types)} "
          f"types are in {OUTPUT}/html")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
