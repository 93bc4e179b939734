#!/usr/bin/env python3
"""The pages of docs/guide against the sources they show: `check.py [--root DIR] [--update]`.

Each C++ block is a copy of what is compiled, and names it in the line above:

    <!-- code: samples/tcp_server.cpp -->                     the whole file
    <!-- code: samples/tcp_server.cpp#talk + main -->         functions and types, by name
    <!-- code: samples/udp_client.cpp#requester::ask_at -->   where the name alone is not enough
    <!-- code: test/guide/handler_test.cpp#"a test case's sentence" -->

The comment right above a definition belongs to it. --update writes the sources into the pages. Only
what every build compiles is shown: library, samples and tests, fuzzers and benchmarks not.

Blocks are `cpp`, `sh` and `text`. What a reader types is sh, and is run by run_blocks.py or says why
it is not. Code in any other form than between lines of ``` would be seen by neither, so there is
none: no ~~~, nothing indented, in no quotation and no <pre>. That goes for README.md, too, where the
first C++ block is compiled as it stands (test/CMakeLists.txt) and others are copies.
Links between files of the tree, and to headings in them, are checked as well.

One line for each finding, as FILE:LINE: MESSAGE; ends with 1 when there is any.
"""
import argparse
import pathlib
import re
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "style"))

from check import is_data_head, is_type_head  # noqa: E402
from cpp_text import Group, Token, parse  # noqa: E402

CODE = re.compile(r"<!-- code: (?P<path>[^#\s]+)(?:#(?P<names>.+?))? -->")
RUN = re.compile(r"<!-- (?:run(?:: (?:background|fails))?|not run: \S.*) -->")
LANGUAGES = {"cpp", "sh", "text"}
UNSEEN = (
    (re.compile(r"[\s>]*(?:(?:[*+-]|\d+[.)])\s+)*~~~"), "a block between lines of ~~~: ``` it has to be"),
    (re.compile(r"\s*(?:>|[*+-]\s|\d+[.)]\s).*?```\w*$"),
     "a block behind the mark of a list or a quotation: it has to begin a line"),
    (re.compile(r"\s*>(?: {5}|\t)"), "an indented block in a quotation"),
    (re.compile(r".*<pre\b", re.IGNORECASE), "<pre>: a block is between lines of ```"),
)
ITEM = re.compile(r" *(?:[*+-]|\d+[.)]) +(?=\S)")
# Behind these no paragraph goes on, and what is indented is code.
NO_TEXT = re.compile(r"\s*(?:#.*|-{3,}|={3,}|\*{3,}|_{3,}|.*-->)?\s*")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ACCESS = {"public", "private", "protected"}


# As CMakeLists.txt of lib, samples and test take them; a header of lib is compiled alone by a test.
COMPILED = re.compile(
    r"lib/rondo/.+\.[ch]pp|samples/(?:blocking/)?[^/]+\.cpp|samples/(?P<folder>[^/]+)/[^/]+\.cpp"
    r"|test/(?!(?:bench|fuzz|hostile|install|soak|style)/).*_test\.cpp")


def is_compiled(root, path):
    taken = COMPILED.fullmatch(path)
    folder = taken and taken["folder"]
    return bool(taken) and (not folder or (root / "samples" / folder / f"{folder}.cpp").is_file())


class Unknown(Exception):
    pass


# ---- sources

class Definition:
    """A function, a type or a test case, by the lines it takes."""

    def __init__(self, name, first, last):
        self.name, self.first, self.last = name, first, last

    def is_called(self, name):
        return self.name == name or self.name.endswith("::" + name)


def without_access(head):
    while len(head) > 1 and isinstance(head[0], Token) and head[0].text in ACCESS:
        head = head[2:]
    return head


def type_name(head):
    """The last name before the bases: `x` of `struct x`, `class x final : y`."""
    name = None
    for item in head:
        if isinstance(item, Token) and item.text == ":":
            break
        if isinstance(item, Token) and item.text[0].isalpha() and item.text != "final":
            name = item.text
    return name


def function_name(head):
    for before, item in zip(head, head[1:]):
        if isinstance(item, Group) and item.text == "(" and isinstance(before, Token):
            return before.text
    return None


def definitions(group, lines, scope=""):
    head = []
    for item in group.children:
        if isinstance(item, Token) and item.text == ";":
            head = []
            continue
        if not isinstance(item, Group) or item.text != "{":
            head.append(item)
            continue
        head = without_access(head)
        if head and is_type_head(head):
            if any(isinstance(word, Token) and word.text == "namespace" for word in head):
                yield from definitions(item, lines, scope)
            else:
                name = scope + (type_name(head) or "")
                yield Definition(name, head[0].line, item.end)
                yield from definitions(item, lines, name + "::")
        elif is_data_head(head):
            head.append(item)
            continue
        elif head:
            name = function_name(head) or ""
            if name == "TEST_CASE":
                opening = "\n".join(lines[head[0].line - 1:item.line])
                name = re.search(r'"(?:\\.|[^"\\])*"', opening).group()
            yield Definition(scope + name, head[0].line, item.end)
        head = []


def piece(text, name):
    lines = text.split("\n")
    found = [each for each in definitions(parse(text), lines) if each.is_called(name)]
    if len(found) != 1:
        raise Unknown(f"{name} is defined {len(found)} times" if found else
                      f"{name} is not defined")
    first = found[0].first - 1
    indentation = re.match(" *", lines[first]).group()
    while first > 0 and lines[first - 1].startswith(indentation + "//"):
        first -= 1
    return textwrap.dedent("\n".join(lines[first:found[0].last]) + "\n")


def code(root, path, names):
    """What the block below `<!-- code: path#names -->` has to hold."""
    file = root / path
    if not file.is_file():
        raise Unknown(f"there is no {path}")
    if not is_compiled(root, path):
        raise Unknown(f"{path} is no C++ source that every build compiles")
    text = file.read_text()
    if names is None:
        return text
    try:
        return "\n".join(piece(text, name.strip()) for name in names.split(" + "))
    except Unknown as unknown:
        raise Unknown(f"{path}: {unknown}") from None


# ---- pages

class Block:
    """Of a page: `first` and `last` are the indexes of its fences."""

    def __init__(self, language, first, last, lines):
        self.language, self.first, self.last = language, first, last
        self.above = lines[first - 1].strip() if first > 0 else ""
        self.text = "".join(line + "\n" for line in lines[first + 1:last])


def blocks(lines):
    first = None
    for index, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if first is None:
            first = index
        else:
            yield Block(lines[first].strip()[3:], first, index, lines)
            first = None
    if first is not None:
        raise Unknown("a block without its end")


def indented(lines):
    """The indexes of lines with which indented code begins: by four, or by as much more than the
    text of the list's item that it stands in."""
    items, in_text = [], False
    for index, line in enumerate(lines):
        line = line.expandtabs(4)
        indentation = len(line) - len(line.lstrip())
        if line.strip() and not in_text:
            while items and indentation < items[-1]:
                items.pop()
            if indentation - (items[-1] if items else 0) >= 4:
                yield index
                continue
        item = ITEM.match(line)
        if item:
            items = [each for each in items if each <= indentation] + [item.end()]
        in_text = not NO_TEXT.fullmatch(line)


def unseen(text):
    """Blocks that blocks() does not see."""
    lines = list(prose(text))
    for index, line in enumerate(lines):
        for form, message in UNSEEN:
            if form.match(line):
                yield index + 1, message
    for index in indented(lines):
        yield index + 1, "an indented block: it has to be between lines of ```"


def check_block(root, block):
    """A finding, or None; and what a C++ block should hold."""
    marked = CODE.fullmatch(block.above)
    if block.language not in LANGUAGES:
        return f"a block of \"{block.language}\": cpp, sh and text are known", None
    if block.language == "cpp":
        if not marked:
            return "a C++ block without the line <!-- code: ... --> above it", None
        try:
            wanted = code(root, marked["path"], marked["names"])
        except Unknown as unknown:
            return str(unknown), None
        differs = block.text != wanted
        return "differs from its source (check.py --update)" if differs else None, wanted
    if marked:
        return f"<!-- code: ... --> above a block of {block.language}", None
    if block.language == "sh":
        if not RUN.fullmatch(block.above):
            return "a block of sh that neither is run nor says why not", None
    elif block.above.startswith(("<!-- run", "<!-- not run")):
        return f"{block.above} above a block of {block.language}", None
    return None, None


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(text):
    """Its lines, those of blocks empty."""
    inside = False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        yield "" if inside or fence else line
        inside ^= fence


def anchors(text):
    return {anchor(line.lstrip("#")) for line in prose(text) if line.startswith("#")}


def check_links(root, page, text):
    for number, line in enumerate(prose(text), 1):
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, heading = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or not file.is_relative_to(root):
                yield number, f"leads nowhere: {target}"
            elif heading and heading not in anchors(file.read_text()):
                yield number, f"no such heading: {target}"


def check_page(root, page, update=False):
    text = page.read_text()
    lines = text.split("\n")
    changes = []
    try:
        for block in blocks(lines):
            finding, wanted = check_block(root, block)
            if finding and wanted is not None and update:
                changes.append((block, wanted))
            elif finding:
                yield block.first + 1, finding
    except Unknown as unknown:
        yield len(lines), str(unknown)
    for block, wanted in reversed(changes):
        lines[block.first + 1:block.last] = wanted.split("\n")[:-1]
    if changes:
        page.write_text("\n".join(lines))
    yield from unseen(text)
    yield from check_links(root, page, text)


def check_readme(root, page):
    text = page.read_text()
    try:
        shown = [block for block in blocks(text.split("\n")) if block.language == "cpp"]
    except Unknown as unknown:
        yield 1, str(unknown)
        return
    if not shown:
        yield 1, "no C++ example"
    for block in shown[1:]:
        finding, _ = check_block(root, block)
        if finding:
            yield block.first + 1, finding
    yield from unseen(text)
    yield from check_links(root, page, text)


def pages(root):
    return sorted((root / "docs" / "guide").glob("*.md"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--root", type=lambda name: pathlib.Path(name).resolve(),
                           default=pathlib.Path(__file__).resolve().parents[2])
    arguments.add_argument("--update", action="store_true",
                           help="write the sources into the pages")
    given = arguments.parse_args()
    found = 0
    readme = given.root / "README.md"
    checked = [(page, check_page(given.root, page, given.update)) for page in pages(given.root)]
    for page, findings in [*checked, (readme, check_readme(given.root, readme))]:
        for line, message in findings:
            print(f"{page.relative_to(given.root)}:{line}: {message}")
            found += 1
    if not pages(given.root):
        print("docs/guide: no page")
        found += 1
    if not found:
        print("guide: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
