#!/usr/bin/env python3
"""Proves that the checks of the guide can fail, and that run_blocks.py runs what is written."""
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

import run_blocks

# By its path: the style's check.py has the same name.
spec = importlib.util.spec_from_file_location(
    "guide_check", pathlib.Path(__file__).resolve().parent / "check.py")
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

SOURCE = """\
// A sample.
#include <string>

namespace {

// What one client is.
struct client {
    int number = 0;
};

class room {
public:
    explicit room(int size) : size_(size) {}
    // How many there are.
    int count() const {
        if (size_ > 1) {
            return size_;
        }
        return 0;
    }

private:
    int size_;
};

const char* text = "{";

template <typename T>
int twice(T value) {
    return 2 * value;
}

int over(int a) { return a; }
int over(char a) { return a; }

}  // namespace

TEST_CASE("it works, mostly", "[tag]") {
    CHECK(twice(1) == 2);
}
"""


def findings(page, update=False, source=SOURCE):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        (root / "docs/guide").mkdir(parents=True)
        (root / "samples").mkdir()
        (root / "samples/a.cpp").write_text(source)
        file = root / "docs/guide/page.md"
        file.write_text(page)
        found = [message for _, message in check.check_page(root, file, update)]
        return (found, file.read_text()) if update else found


def is_compiled(path):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "samples/load").mkdir(parents=True)
        (root / "samples/load/load.cpp").write_text("")
        return check.is_compiled(root, path)


def cpp(mark, text):
    return f"# A page\n\n<!-- code: {mark} -->\n```cpp\n{text}```\n"


class CheckTest(unittest.TestCase):
    def shown(self, names):
        found, page = findings(cpp(f"samples/a.cpp#{names}", "no\n"), update=True)
        self.assertEqual(found, [])
        return page.split("```cpp\n")[1].split("```")[0]

    def test_a_copy_is_accepted_and_any_difference_found(self):
        twice = "template <typename T>\nint twice(T value) {\n    return 2 * value;\n}\n"
        self.assertEqual(findings(cpp("samples/a.cpp#twice", twice)), [])
        for other in (twice.replace("2", "3"), twice + "\n", twice[1:], ""):
            self.assertEqual(len(findings(cpp("samples/a.cpp#twice", other))), 1, other)

    def test_a_changed_source_is_found(self):
        twice = "template <typename T>\nint twice(T value) {\n    return 2 * value;\n}\n"
        changed = SOURCE.replace("2 * value", "value + value")
        self.assertEqual(len(findings(cpp("samples/a.cpp#twice", twice), source=changed)), 1)

    def test_the_whole_file(self):
        self.assertEqual(findings(cpp("samples/a.cpp", SOURCE)), [])
        self.assertEqual(len(findings(cpp("samples/a.cpp", SOURCE + "\n"))), 1)

    def test_what_a_name_stands_for(self):
        self.assertEqual(self.shown("client"),
                         "// What one client is.\nstruct client {\n    int number = 0;\n};\n")
        count = ("// How many there are.\nint count() const {\n    if (size_ > 1) {\n"
                 "        return size_;\n    }\n    return 0;\n}\n")
        self.assertEqual(self.shown("count"), count)
        self.assertEqual(self.shown("room::count"), count)
        self.assertTrue(self.shown("room::room").startswith("explicit room"))
        self.assertEqual(self.shown('"it works, mostly"').split("\n")[0],
                         'TEST_CASE("it works, mostly", "[tag]") {')
        self.assertEqual(self.shown("client + room::count"),
                         self.shown("client") + "\n" + count)

    def test_what_cannot_be_found_is_reported(self):
        for name in ("a.cpp#missing", "a.cpp#over", "b.cpp", "a.cpp#lient", "a.cpp#client::count"):
            self.assertEqual(len(findings(cpp(f"samples/{name}", ""))), 1, name)

    def test_only_what_every_build_compiles_is_shown(self):
        for path in ("samples/tcp_server.cpp", "samples/blocking/tcp_server.cpp",
                     "samples/load/report.cpp", "test/guide/handler_test.cpp",
                     "lib/rondo/net/tcp.cpp", "lib/rondo/net/tcp.hpp"):
            self.assertTrue(is_compiled(path), path)
        for path in ("a.cpp", "docs/a.cpp", "samples/none/none.cpp", "samples/command_line.hpp",
                     "test/fuzz/utf8_fuzz.cpp", "test/fuzz/utf8_test.cpp", "test/bench/micro.cpp",
                     "test/support/harness.cpp", "test/install/consumer/talk.cpp"):
            self.assertFalse(is_compiled(path), path)

    def test_no_block_without_a_source(self):
        self.assertEqual(len(findings("```cpp\nint a;\n```\n")), 1)
        self.assertEqual(len(findings("<!-- code: samples/a.cpp -->\n\n```cpp\nint a;\n```\n")), 1)
        for language in ("c++", "", "C", "diff"):
            self.assertEqual(len(findings(f"```{language}\nint a;\n```\n")), 1, language)
        self.assertEqual(findings("<!-- run -->\n```sh\ntrue\n```\n\n```text\nyes\n```\n"), [])

    def test_marks_above_other_blocks_and_unknown_ones(self):
        self.assertEqual(len(findings("<!-- run -->\n```text\nno\n```\n")), 1)
        self.assertEqual(len(findings("<!-- run: twice -->\n```sh\nno\n```\n")), 1)
        self.assertEqual(len(findings("<!-- code: samples/a.cpp -->\n```sh\nno\n```\n")), 1)
        self.assertEqual(len(findings("```sh\nno\n")), 1)

    def test_no_block_in_a_form_that_is_not_seen(self):
        for page in ("~~~cpp\nint a;\n~~~\n", "* x\n\n  ~~~cpp\n  int a;\n  ~~~\n",
                     "* ~~~cpp\n  int a;\n  ~~~\n", "> ~~~\n> int a;\n> ~~~\n",
                     "    int a;\n", "text\n\n    int a;\n", "text\n\n\tint a;\n",
                     "# A\n    int a;\n", "* x\n\ntext\n\n    int a;\n", "* x\n\n      int a;\n",
                     "1. x\n   * y\n\n         int a;\n", "<!-- x -->\n    int a;\n",
                     ">     int a;\n", "<pre>\nint a;\n</pre>\n"):
            found = findings(page)
            self.assertTrue(found and "block" in found[0], page)
        for page in ("> ```cpp\n> int a;\n> ```\n", "* ```cpp\n  int a;\n"):
            self.assertTrue(any("begin a line" in each for each in findings(page)), page)
        for page in ("text\n    that goes on\n", "* x\n\n  more\n\n    and more\n",
                     "* x\n    that goes on\n* y\n  * z\n\n    of z\n", "10. x\n\n    of 10\n",
                     "```text\n\n    shown\n~~~\n```\n", "| a |\n|---|\n| b |\n"):
            self.assertEqual(findings(page), [], page)

    def test_the_readme(self):
        def of(page):
            with tempfile.TemporaryDirectory() as folder:
                root = pathlib.Path(folder).resolve()
                (root / "README.md").write_text(page)
                return [message for _, message in check.check_readme(root, root / "README.md")]
        example = "```cpp\nint a;\n```\n\n```cmake\nb\n```\n"
        self.assertEqual(of(example), [])
        for page in ("", example + "```cpp\nint b;\n```\n", example + "~~~cpp\nint b;\n~~~\n",
                     example + "\n    int b;\n", example + "[x](nowhere.md)\n", "```cpp\n"):
            self.assertTrue(of(page), page)

    def test_a_command_is_run_or_says_why_not(self):
        self.assertEqual(len(findings("```sh\nno\n```\n")), 1)
        self.assertEqual(len(findings("<!-- not run: -->\n```sh\nno\n```\n")), 1)
        self.assertEqual(len(findings("<!-- not run: so -->\n```text\nno\n```\n")), 1)
        self.assertEqual(findings("<!-- not run: two terminals -->\n```sh\nno\n```\n"), [])

    def test_links(self):
        self.assertEqual(findings("# The `a` page\n[x](../../samples/a.cpp) [y](#the-a-page)\n"
                                  "[z](page.md#the-a-page) [w](https://example.com/x)\n"), [])
        self.assertEqual(len(findings("[x](b.md)\n")), 1)
        self.assertEqual(len(findings("[x](#nowhere)\n")), 1)
        self.assertEqual(len(findings("[x](../../../../../etc/passwd)\n")), 1)


def run(page, **options):
    return run_blocks.run_page(textwrap.dedent(page), timeout=options.pop("timeout", 10),
                               report=lambda text: None, **options)


def block(how, command, output=None):
    page = f"<!-- {how} -->\n```sh\n{command}\n```\n"
    return page if output is None else page + f"\n```text\n{output}\n```\n"


class RunBlocksTest(unittest.TestCase):
    def assertFails(self, page, words, **options):
        with self.assertRaises(run_blocks.Failure) as caught:
            run(page, **options)
        self.assertIn(words, str(caught.exception))
        return caught.exception

    def test_only_what_is_marked_is_run(self):
        self.assertEqual(run("```text\nfalse\n```\n"), 0)
        self.assertEqual(run(block("not run: two terminals", "false")), 0)
        self.assertEqual(run(block("run", "true") + block("run", "echo a", "a")), 2)

    def test_the_end_of_a_command(self):
        self.assertFails(block("run", "false\ntrue"), "ended with 1")
        self.assertFails(block("run", "false | true"), "ended with 1")
        self.assertFails(block("run: fails", "true"), "ended with 0")
        self.assertEqual(run(block("run: fails", "echo no >&2; exit 3", "no")), 1)
        self.assertFails(block("run", "sleep 60"), "did not end", timeout=0.1)

    def test_the_output(self):
        page = block("run", "echo building; echo one; echo two >&2; echo three", "{}")
        for fits in ("three", "one\ntwo\nthree", "one\n...\nthree", "...", "two\n...\nthree",
                     "t...o\n...ee", "one\ntwo\nthree\n..."):
            self.assertEqual(run(page.format(fits)), 1, fits)
        for other in ("one", "two", "hree", "one\nthree", "three\ntwo", "on.\n...", "three\n\n"):
            failure = self.assertFails(page.format(other), "something else")
            self.assertIn("two\nthree\n", failure.output)

    def test_lines_of_ipv6_where_there_is_none(self):
        page = block("run", "echo 127.0.0.1:80", "[::1]:80\n127.0.0.1:80")
        self.assertEqual(run(page, has_ipv6=False), 1)
        self.assertFails(page, "something else", has_ipv6=True)

    SERVER = "trap 'echo bye; exit {}' INT; echo ready; while true; do sleep 0.01; done"

    def server(self, code=0, output="ready\nbye"):
        return block("run: background", self.SERVER.format(code), output)

    @staticmethod
    def that_has_ended(folder):
        """A server, and a command that waits until it is over: a moment before, it still runs."""
        mark = pathlib.Path(folder) / "mark"
        return (block("run: background", f"echo $$ > {mark}; echo ready", "ready")
                + block("run", f"until grep -q '^State:.Z' /proc/$(cat {mark})/status; do :; done"))

    def test_a_server_runs_until_the_next_heading(self):
        self.assertEqual(run(self.server() + block("run", "true") + "## Next\n"
                             + self.server() + block("run", "true")), 4)
        self.assertFails(self.server(code=1), "ended with 1")
        self.assertFails(self.server(output="ready\nno"), "something else")
        self.assertFails(self.server(output="no"), "did not print", timeout=0.1)
        with tempfile.TemporaryDirectory() as folder:
            self.assertFails(self.that_has_ended(folder), "ended by itself")
        self.assertFails(block("run: background", "exit 4", "ready"), "ended with 4")
        self.assertFails(block("run: background", "sleep 60"), "needs a block of text")
        self.assertFails(block("run: background", "trap '' INT; echo ready; sleep 60", "ready"),
                         "did not end", patience=0.1)

    def test_told_to_end_it_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            page, mark = pathlib.Path(folder) / "page.md", pathlib.Path(folder) / "mark"
            page.write_text(block("run", f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 60"))
            running = subprocess.Popen([sys.executable, run_blocks.__file__, page],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            while not mark.exists() and running.poll() is None:
                time.sleep(0.01)
            running.terminate()
            output = running.communicate(timeout=20)[0]
            self.assertIn(b"told to end", output)
            self.assertNotEqual(running.returncode, 0)
            with self.assertRaises(ProcessLookupError):
                os.killpg(int(mark.read_text()), 0)

    def test_a_page_that_is_wrong(self):
        self.assertFails("<!-- run -->\ntext\n", "no block of sh")
        self.assertFails("<!-- run -->\n```sh\ntrue\n", "without its end")
        for above in ("", "text\n", "<!-- not run: -->\n", "<!-- not run: so -->\n\n"):
            self.assertFails(above + "```sh\ntrue\n```\n", "neither is run nor says why")


if __name__ == "__main__":
    unittest.main()
