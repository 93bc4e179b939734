#!/usr/bin/env python3
"""Proves that the style checks can fail: what must be reported is, what must not be is not."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import check
import coroutine_forms

BAD_FORMS = {
    "condition of if": "if (co_await f() > 0) g();",
    "assignment in a condition": "while ((n = co_await f()) > 0) { g(); }",
    "assignment alone in a condition": "while (n = co_await f()) { g(); }",
    "assignment to a member in a condition": "while (x.n = co_await f()) { g(); }",
    "negation": "if (!co_await f()) { g(); }",
    "else if": "if (a) { g(); } else if (co_await f()) { g(); }",
    "switch": "switch (co_await f()) { case 1: g(); }",
    "do while": "do { g(); } while (co_await f());",
    "condition of for": "for (int i = 0; co_await f(i); ++i) g();",
    "condition after a declaration": "if (auto n = g(); co_await f(n)) g();",
    "condition in a lambda": "run([]() -> task<> { if (co_await f()) g(); });",
    "condition of a nested if": "for (;;) { if (a) { if (co_await f()) g(); } }",
    "CHECK": "CHECK(co_await f() == 1);",
    "REQUIRE_FALSE": "REQUIRE_FALSE(co_await f());",
    "CHECK_THROWS_AS": "CHECK_THROWS_AS(co_await f(), std::system_error);",
    "REQUIRE_THAT": "REQUIRE_THAT(co_await f(), Equals(1));",
    "CHECK in a lambda": "run([&]() -> task<> { CHECK((co_await f()) == 1); });",
    "assert": "assert(co_await f() == 1);",
    "both sides of a ternary": "auto x = a ? co_await f() : co_await g();",
    "ternary as an argument": "h(1, a ? co_await f() : co_await g(), 2);",
    "nested ternary": "auto x = a ? (b ? 1 : co_await f()) : co_await g();",
    "braced return": "co_return pair{co_await f(), 1};",
    "braced declaration": "point p{co_await f(), co_await f()};",
    "braced argument": "g(point{co_await f()});",
    "array of awaited values": "int a[] = {co_await f(), co_await f()};",
    "awaited value deep inside braces": "point p{h(1 + co_await f())};",
    "bare list": "co_await g({1, 2});",
    "bare list as the second argument": "co_await g(x, {1, 2});",
    "aggregate": "co_await g(options{.limit = 3});",
    "bare aggregate": "co_await g(x, {.limit = 3});",
    "braced awaiter": "co_await awaiter{1};",
    "new": "auto* p = new T(co_await f());",
    "placement new": "new (p) T(co_await f());",
    "copying lambda": "co_await with([n] { return n; });",
    "copying lambda beside": "g(co_await f(), [n] { return n; });",
    "moving lambda": "co_await with([p = std::move(p)]() -> task<> { co_await p.f(); });",
    "default copy": "co_await with([=] { return n; });",
    "copy among references": "co_await with([&a, b] { return a + b; });",
    "copy of the object": "co_await with([*this] { return n; });",
    "copying lambda with a trailing type":
        "co_await with([n](int) mutable -> std::pair<int, int> { return {n, n}; });",
    "copying template lambda": "co_await with([n]<typename A, typename B>(A, B) { return n; });",
    "copying lambda in a lambda": "spawn([&]() -> task<> { co_await with([n] { return n; }); });",
    "copying lambda, then a call": "auto x = co_await [n]() -> task<int> { co_return n; }();",
}
GOOD_FORMS = {
    "declaration in while": "while (auto data = co_await peer.recv()) co_await peer.send(data);",
    "declaration in if": "if (const auto n = co_await f()) g(n);",
    "declaration in if with a condition": "if (auto n = co_await f(); n != 2) g();",
    "typed declaration": "if (std::optional<int> n = co_await f()) g();",
    "structured binding": "auto [a, b] = co_await f(); if (a) g();",
    "pointer": "while (auto* p = co_await f()) g(p);",
    "bound first": "auto n = co_await f(); if (n != 2) g(); CHECK(n == 1);",
    "body of an if": "if (a) co_await f(); else co_await g();",
    "condition that holds a coroutine":
        "if (run([&]() -> task<int> { co_return co_await f(); }())) g();",
    "CHECK around a run": "CHECK(run([&]() -> task<int> { co_return co_await f(); }()) == 1);",
    "one side of a ternary": "auto x = a ? co_await f() : 0;",
    "ternary beside co_await": "co_await f(a ? 1 : 2);",
    "two statements with ternaries":
        "auto x = a ? co_await f() : 1; auto y = b ? 1 : co_await g();",
    "reference captures": "co_await with([&] { g(); }); co_await with([&x, this] { g(); });",
    "no captures": "co_await with([](task_group& g) -> task<> { co_await g.join(); });",
    "named lambda": "auto h = [n] { return n; }; co_await with(h);",
    "spawned lambda": "group.spawn([p = std::move(p)]() -> task<> { co_await p.f(); });",
    "empty braces": "co_await g(options{}, {});",
    "constructor braces": "co_await g(endpoint{host, port});",
    "braces before": "point p{1, 2}; co_await g(p);",
    "subscript": "co_await g(a[n], b[i][j]);",
    "list in a for": "for (int x : {1, 2}) co_await g(x);",
    "new before": "auto* p = new T(1); co_await g(p);",
    "comment": "// if (co_await f())\ng(\"CHECK(co_await f())\"); /* new T(co_await f()) */",
    "raw string": "g(R\"x(if (co_await f()) \" )x\");",
    "attribute": "[[maybe_unused]] auto n = co_await f();",
    "designated initializer of a lambda":
        "options o{.hook = [n](int) -> task<> { co_await f(n); }}; co_await g(o);",
}


def coroutine(body):
    return f"namespace x {{\ntask<> c(int n) {{\n    {body}\n}}\n}}\n"


def function(lines, head="int f() {", tail="}"):
    return head + "\n" + "    g();\n" * (lines - 2) + tail + "\n"


class CoroutineForms(unittest.TestCase):
    def test_bad_forms_are_reported_once_and_where_they_are(self):
        for name, body in BAD_FORMS.items():
            with self.subTest(name):
                self.assertEqual([3], [line for line, _ in coroutine_forms.check(coroutine(body))])

    def test_good_forms_are_not_reported(self):
        for name, body in GOOD_FORMS.items():
            with self.subTest(name):
                self.assertEqual([], coroutine_forms.check(coroutine(body)))

    def test_guides_are_read_inside_cpp_blocks_only(self):
        block = "```cpp\nif (co_await f()) g();\n```\n"
        self.assertEqual([2], [line for line, _ in check.check_markdown(block)])
        self.assertEqual([], list(check.check_markdown(block.replace("cpp", "text"))))


class FunctionLength(unittest.TestCase):
    HEADS = [
        ("int f() {", "}"),
        ("auto c::f(int a, std::map<int, int> b) const noexcept -> int {", "}"),
        ("c::c(int a) : a_{a}, b_(a), d_{} {", "}"),
        ("c::c(int a) : a_{a} {", "}"),
        ("template <typename T> requires (sizeof(T) > 1) struct s f(T t) {", "}"),
        ("const auto f = [](int a) {", "};"),
        ("const auto f = [] {", "};"),
        ("TEST_CASE(\"a sentence\", \"[tag]\") {", "}"),
        ("struct s { int f() {", "} };"),
        ("namespace a { extern \"C\" { void f() {", "} } }"),
        ("static const entry table[] = { {1, [](int a) {", "} } };"),
    ]

    def test_a_function_over_the_limit_is_reported_in_every_guise(self):
        for head, tail in self.HEADS:
            with self.subTest(head):
                long = function(check.FUNCTION_LINES + 1, head, tail)
                self.assertEqual(1, len(list(check.check_function_lengths(long))))
                fitting = function(check.FUNCTION_LINES, head, tail)
                self.assertEqual([], list(check.check_function_lengths(fitting)))

    def test_nested_lambdas_count_with_their_function(self):
        text = "void f() {\n    auto g = [] {\n" + "    h();\n" * 68 + "    };\n}\n"
        self.assertEqual(1, len(list(check.check_function_lengths(text))))

    def test_types_namespaces_and_tables_may_be_long(self):
        for head, tail in [("namespace a {", "}"), ("class c final : public d<int(int)> {", "};"),
                           ("struct alignas(64) s {", "};"), ("enum class e : int {", "};"),
                           ("const std::array<int, 100> a = {", "};"), ("const int a[] = {", "};"),
                           ("extern \"C\" {", "}")]:
            with self.subTest(head):
                self.assertEqual([], list(check.check_function_lengths(function(99, head, tail))))

    def test_the_lines_of_a_macro_and_of_a_raw_string_count_and_their_braces_do_not(self):
        text = "void f() {\n#define X \\\n    {\n" + "    g(R\"(\n{\n)\");\n" * 22
        self.assertEqual([], list(check.check_function_lengths(text + "}\n")))
        self.assertEqual(1, len(list(check.check_function_lengths(text + "\n}\n"))))


class Text(unittest.TestCase):
    def lines(self, text):
        return [line for line, _ in check.check_lines(text)]

    def test_long_lines_tabs_and_trailing_blanks_are_reported(self):
        self.assertEqual([], self.lines("x" * 100 + "\n"))
        self.assertEqual([2], self.lines("\n" + "x" * 101 + "\n"))
        self.assertEqual([1], self.lines("\tx\n"))
        self.assertEqual([1], self.lines("x \n"))
        self.assertEqual([1], self.lines("x"))

    def test_a_header_has_a_purpose_no_macro_and_no_liburing(self):
        opening = "// Why.\n#pragma once\n\n"
        found = lambda text: [line for line, _ in check.check_header_text(text)]
        self.assertEqual([], found(opening + "#include <vector>\n"))
        self.assertEqual([1], found("#pragma once\n"))
        self.assertEqual([4], found(opening + "  # define A 1\n"))
        self.assertEqual([4], found(opening + "#include <liburing.h>\n"))
        self.assertEqual([4], found(opening + "#include \"liburing/io_uring.h\"\n"))
        self.assertEqual([4], found(opening + "class send_operation final {};\n"))
        self.assertEqual([], found(opening + "class [[nodiscard]] send_operation final {};\n"))


class Tree(unittest.TestCase):
    """Small libraries in a folder of their own."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.lib = pathlib.Path(self.folder.name) / "lib"
        self.write("rondo.hpp")

    def write(self, name, *includes):
        path = self.lib / "rondo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"#include <{i}>\n" for i in includes)
        path.write_text(f"// Why.\n#pragma once\n\n{lines}")

    def found(self, rule):
        return [name for name, _, _ in rule(check.Library(self.lib))]

    def test_what_the_layers_allow_is_allowed(self):
        self.write("log.hpp")
        self.write("detail/a.hpp", "rondo/log.hpp", "vector")
        self.write("task/a.hpp", "rondo/detail/a.hpp", "rondo/log.hpp")
        self.write("sync/a.hpp", "rondo/task/a.hpp")
        self.write("engine/a.cpp", "rondo/detail/a.hpp", "liburing.h")
        self.write("io/a.hpp", "rondo/task/a.hpp", "rondo/sync/a.hpp")
        self.write("net/a.hpp", "rondo/io/a.hpp")
        self.write("stream/a.hpp", "rondo/task/a.hpp", "rondo/sync/a.hpp")
        self.write("testing/a.hpp", "rondo/net/a.hpp")
        self.assertEqual([], self.found(check.check_layers))

    def test_every_include_up_or_across_is_reported(self):
        for name in ["task/t.hpp", "sync/s.hpp", "engine/e.hpp", "io/i.hpp", "net/n.hpp",
                     "stream/m.hpp", "detail/d.hpp"]:
            self.write(name)
        for name, target in [("task/a.hpp", "engine/e.hpp"), ("task/b.hpp", "sync/s.hpp"),
                             ("sync/a.cpp", "io/i.hpp"), ("engine/a.hpp", "task/t.hpp"),
                             ("io/a.hpp", "net/n.hpp"), ("stream/a.hpp", "io/i.hpp"),
                             ("stream/b.hpp", "net/n.hpp"), ("http/a.hpp", "net/n.hpp"),
                             ("detail/a.hpp", "task/t.hpp"), ("log.hpp", "task/t.hpp"),
                             ("net/a.cpp", "rondo.hpp"), ("net/b.hpp", "net/absent.hpp"),
                             ("elsewhere/a.hpp", "detail/d.hpp")]:
            with self.subTest(name, target=target):
                self.write(name, f"rondo/{target}")
                self.assertEqual([f"rondo/{name}"], self.found(check.check_layers))
                (self.lib / "rondo" / name).unlink()

    def test_liburing_outside_its_layers_is_reported(self):
        self.write("task/a.cpp", "liburing.h")
        self.write("net/a.cpp", "liburing.h")
        self.assertEqual(["rondo/task/a.cpp"], self.found(check.check_layers))

    def test_an_include_in_quotes_is_followed(self):
        self.write("io/i.hpp")
        self.write("task/a.hpp")
        path = self.lib / "rondo/task/a.hpp"
        path.write_text(path.read_text() + '#include "../io/i.hpp"\n')
        self.assertEqual(["rondo/task/a.hpp"], self.found(check.check_layers))

    def test_a_header_that_reaches_too_many_or_too_far_is_reported(self):
        files = [f"task/h{i}.hpp" for i in range(check.HEADER_REACH + 1)]
        for name in files:
            self.write(name)
        self.write("task/wide.hpp", *(f"rondo/{name}" for name in files[1:]))
        self.assertEqual([], self.found(check.check_reach))
        self.write("task/wide.hpp", *(f"rondo/{name}" for name in files))
        self.assertEqual(["rondo/task/wide.hpp"], self.found(check.check_reach))
        self.write("task/wide.hpp")
        for i in range(check.HEADER_DEPTH):
            self.write(files[i], f"rondo/{files[i + 1]}")
        self.assertEqual([], self.found(check.check_reach))
        self.write("task/far.hpp", f"rondo/{files[0]}")
        self.assertEqual(["rondo/task/far.hpp"], self.found(check.check_reach))

    def test_an_inline_namespace_of_another_version_is_reported(self):
        path = self.lib / "rondo" / "log.hpp"
        path.write_text("// Why.\n#pragma once\n\nnamespace rondo::inline v1::detail {}\n")
        library = check.Library(self.lib)
        found = lambda build: list(check.check_namespaces(library, build))
        self.assertEqual([], found("project(rondo VERSION 1.2.3)\n"))
        self.assertEqual([("rondo/log.hpp", 4, "namespace v1 in version 2")],
                         found("project(rondo VERSION 2.0.0)\n"))
        self.assertEqual(1, len(found("project(rondo)\n")))

    def test_a_circle_of_includes_ends(self):
        self.write("task/a.hpp", "rondo/task/b.hpp")
        self.write("task/b.hpp", "rondo/task/a.hpp")
        self.assertEqual([], self.found(check.check_reach))

    def test_a_public_header_out_of_the_umbrellas_reach_is_reported(self):
        self.write("task/a.hpp")
        self.write("net/a.hpp", "rondo/task/a.hpp")
        self.write("testing/a.hpp")
        self.write("detail/a.hpp")
        self.assertEqual(["rondo/rondo.hpp"] * 2, self.found(check.check_umbrella))
        self.write("rondo.hpp", "rondo/net/a.hpp")
        self.assertEqual([], self.found(check.check_umbrella))
        (self.lib / "rondo/rondo.hpp").unlink()
        self.assertEqual(["rondo/rondo.hpp"], self.found(check.check_umbrella))

    def test_the_printed_umbrella_is_complete(self):
        self.write("task/a.hpp")
        self.write("log.hpp")
        self.assertEqual(["rondo/rondo.hpp"] * 2, self.found(check.check_umbrella))
        printed = check.umbrella_text(check.Library(self.lib))
        self.assertIn("rondo/log.hpp", printed)
        self.assertNotIn("rondo/rondo.hpp", printed)
        (self.lib / "rondo/rondo.hpp").write_text(printed)
        self.assertEqual([], self.found(check.check_umbrella))

    def test_a_header_that_needs_another_one_does_not_compile_alone(self):
        headers = pathlib.Path(__file__).with_name("headers.py")
        command = [sys.executable, headers, "--lib", self.lib, "--", "c++", "-std=c++20"]
        run = lambda: subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(0, run().returncode)
        path = self.lib / "rondo/task/a.hpp"
        self.write("task/a.hpp")
        path.write_text(path.read_text() + "inline std::string a;\n")
        done = run()
        self.assertEqual(1, done.returncode)
        self.assertIn("rondo/task/a.hpp", done.stdout)


if __name__ == "__main__":
    unittest.main()
