#!/usr/bin/env python3
"""Style, layering and umbrella of the tree: `check.py [--root DIR]`; `check.py umbrella` prints
what lib/rondo/rondo.hpp has to hold.

One line for each finding, as FILE:LINE: MESSAGE; ends with 1 when there is any.
"""
import argparse
import pathlib
import posixpath
import re
import sys

import coroutine_forms
from cpp_text import Group, Token, parse

COLUMNS = 100
FUNCTION_LINES = 70
HEADER_REACH = 42
HEADER_DEPTH = 5
SOURCES = {".hpp", ".cpp", ".h", ".c"}

# Who may include whom. `detail` stands below everything; `net` sees what `io` stands on.
LAYERS = {
    "detail": set(),
    "task": set(),
    "sync": {"task"},
    "engine": set(),
    "io": {"engine", "task", "sync"},
    "net": {"io", "engine", "task", "sync"},
    "stream": {"task", "sync"},
    "http": {"task", "sync", "stream"},
    "websocket": {"task", "sync", "stream"},
    "tls": {"task", "sync", "stream"},
    "testing": {"io", "net", "engine", "task", "sync", "stream"},
}
# Not for users: `engine` is what stands behind the scheduler, `testing` is included by name.
NOT_IN_UMBRELLA = {"detail", "engine", "testing"}
LIBURING_SOURCES = {"engine", "io", "net"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def line_at(text, position):
    return text.count("\n", 0, position) + 1


# ---- one file

def check_lines(text):
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS:
            yield number, f"{len(line)} columns, at most {COLUMNS}"
        if line.startswith("\t"):
            yield number, "a leading tab"
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end of the file"


TYPE_HEADS = {"namespace", "class", "struct", "union", "enum", "extern"}


def is_type_head(head):
    """`class`, `namespace` and so on outside angle brackets, and no parameter list at the end."""
    angles, named = 0, False
    for item in head:
        if isinstance(item, Token) and item.text in "<>":
            angles += 1 if item.text == "<" else -1
        elif angles == 0 and item.text in TYPE_HEADS:
            named = True
    if not named:
        return False
    last = head[-1]
    if isinstance(last, Group) and last.text == "(":
        return len(head) > 1 and head[-2].text == "alignas"
    return last.text not in ("const", "noexcept", "override")


def is_data_head(head):
    """An initializer: after `=`, or after a name without a parameter list."""
    if not head:
        return False
    last = head[-1]
    if isinstance(last, Token) and last.text in ("=", ","):
        return True
    return not any(isinstance(item, Group) and item.text in "([" for item in head)


def function_bodies(group):
    """Brace groups that hold code and lie in no other such group.

    That is the outermost brace that opens neither a namespace nor a type nor an initializer: the
    body of a function, of a test case, or of a lambda outside any function. What is nested in one,
    lambdas and local types included, is part of it, so that no inner function can be longer than
    the limit unnoticed. Counted are all lines from the opening brace to the closing one, blank
    ones and comments included.
    """
    head = []
    for item in group.children:
        if isinstance(item, Token) and item.text == ";":
            head = []
        elif isinstance(item, Group) and item.text == "{":
            if is_type_head(head) or is_data_head(head):
                yield from function_bodies(item)
            else:
                yield item
            head = []
        else:
            if isinstance(item, Group):
                yield from function_bodies(item)
            head.append(item)


def check_function_lengths(text):
    for body in function_bodies(parse(text)):
        lines = body.end - body.line + 1
        if lines > FUNCTION_LINES:
            yield body.line, f"a function of {lines} lines, at most {FUNCTION_LINES}"


def check_header_text(text):
    lines = text.split("\n")
    if not re.match(r"// \S", lines[0]) or lines[1:2] != ["#pragma once"]:
        yield 1, "a header opens with its purpose in one line of comment, then #pragma once"
    for match in re.finditer(r"^[ \t]*#[ \t]*define\b", text, re.MULTILINE):
        yield line_at(text, match.start()), "a macro in a header"
    for match in INCLUDE.finditer(text):
        if match.group(2).startswith("liburing"):
            yield line_at(text, match.start()), "liburing in a header"
    # What is made and not awaited does nothing.
    for match in re.finditer(r"^class (\w+_operation) final", text, re.MULTILINE):
        yield line_at(text, match.start()), f"{match.group(1)} is not [[nodiscard]]"


def check_markdown(text):
    """The C++ blocks of a guide, each on its own lines."""
    lines, inside = [], False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        lines.append(line if inside and not fence else "")
        if fence:
            inside = not inside and line.strip() in ("```cpp", "```c++")
    yield from coroutine_forms.check("\n".join(lines))


# ---- the library as a graph of includes

class Library:
    def __init__(self, lib):
        self.lib = lib
        self.files = {path.relative_to(lib).as_posix(): path.read_text()
                      for path in sorted((lib / "rondo").rglob("*")) if path.suffix in SOURCES}
        self.includes = {name: list(self.find_includes(name)) for name in self.files}

    def find_includes(self, name):
        text = self.files[name]
        for match in INCLUDE.finditer(text):
            target = match.group(2)
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if match.group(1) == '"' and beside in self.files:
                target = beside
            yield line_at(text, match.start()), target

    def ours(self, name):
        return [target for _, target in self.includes[name] if target in self.files]

    def distances(self, name):
        """How many includes away each file of ours is that `name` reaches, by the shortest way."""
        found, waiting = {name: 0}, [name]
        for current in waiting:
            for target in self.ours(current):
                if target not in found:
                    found[target] = found[current] + 1
                    waiting.append(target)
        del found[name]
        return found

    def headers(self):
        return [name for name in self.files if name.endswith(".hpp") and name != UMBRELLA]

    def public_headers(self):
        """For users. What stands beside the folders is, though its layer is that of `detail`."""
        beside = lambda name: name.count("/") == 1 and name != UMBRELLA
        return [name for name in self.headers()
                if beside(name) or layer_of(name) not in NOT_IN_UMBRELLA]


UMBRELLA = "rondo/rondo.hpp"


def layer_of(name):
    """The folder; a file beside the folders (log, say) is below them, as `detail` is."""
    parts = pathlib.PurePosixPath(name).parts
    return parts[1] if len(parts) > 2 else "detail"


def check_layers(library):
    for name, includes in library.includes.items():
        layer = layer_of(name)
        if layer not in LAYERS:
            yield name, 1, f"folder {layer} has no place among the layers"
            continue
        for line, target in includes:
            if target.startswith("liburing") and layer not in LIBURING_SOURCES:
                yield name, line, f"liburing in {layer}"
            if not target.startswith("rondo/") or name == UMBRELLA:
                continue
            other = layer_of(target)
            if target not in library.files:
                yield name, line, f"{target} does not exist"
            elif target == UMBRELLA:
                yield name, line, "the library itself does not use the umbrella"
            elif other not in LAYERS[layer] | {layer, "detail"}:
                yield name, line, f"{layer} may not include {other}"


def check_reach(library):
    for name in library.headers():
        distances = library.distances(name)
        if len(distances) > HEADER_REACH:
            yield name, 1, f"reaches {len(distances)} of our files, at most {HEADER_REACH}"
        for target, distance in distances.items():
            if distance > HEADER_DEPTH:
                yield name, 1, f"{target} is {distance} includes away, at most {HEADER_DEPTH}"


def check_umbrella(library):
    if UMBRELLA not in library.files:
        yield UMBRELLA, 1, "missing"
        return
    reached = library.distances(UMBRELLA)
    for name in library.public_headers():
        if name not in reached:
            yield UMBRELLA, 1, f"does not reach {name} (check.py umbrella prints what it must hold)"


def umbrella_text(library):
    includes = "".join(f"#include <{name}>\n" for name in library.public_headers())
    return f"// All of rondo but its test kit (rondo/testing).\n#pragma once\n\n{includes}"


VERSION = re.compile(r"^project\(rondo VERSION (\d+)\.", re.MULTILINE)
INLINE_NAMESPACE = re.compile(r"\brondo::inline (\w+)")


def check_namespaces(library, build):
    """The inline namespace is `v` and the first number of the version that `build` (the text of the
    top CMakeLists.txt) gives: what is linked with another one is then refused."""
    major = VERSION.search(build)
    if major is None:
        yield UMBRELLA, 1, "no version of rondo in CMakeLists.txt"
        return
    for name, text in library.files.items():
        for match in INLINE_NAMESPACE.finditer(text):
            if match.group(1) != "v" + major.group(1):
                yield (name, line_at(text, match.start()),
                       f"namespace {match.group(1)} in version {major.group(1)}")


# ---- the tree

def check_source(path, text):
    yield from check_lines(text)
    yield from check_function_lengths(text)
    if path.suffix in (".hpp", ".cpp"):
        yield from coroutine_forms.check(text)
    if path.suffix == ".hpp":
        yield from check_header_text(text)


def check_tree(root):
    for folder in ("lib", "samples", "test"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES:
                for line, message in check_source(path, path.read_text()):
                    yield path.relative_to(root), line, message
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if path.exists():
            for line, message in check_markdown(path.read_text()):
                yield path.relative_to(root), line, message
    library = Library(root / "lib")
    build = (root / "CMakeLists.txt").read_text()
    for found in (check_layers(library), check_reach(library), check_umbrella(library),
                  check_namespaces(library, build)):
        for name, line, message in found:
            yield f"lib/{name}", line, message


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("what", nargs="?", choices=["check", "umbrella"], default="check")
    arguments.add_argument("--root", type=pathlib.Path,
                           default=pathlib.Path(__file__).resolve().parents[2])
    given = arguments.parse_args()
    if given.what == "umbrella":
        print(umbrella_text(Library(given.root / "lib")), end="")
        return 0
    findings = [f"{name}:{line}: {message}" for name, line, message in check_tree(given.root)]
    print("\n".join(findings) if findings else "style: nothing found")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
