#!/usr/bin/env python3
"""Proves that the check of the reference can fail, on what Doxygen writes of awaited functions."""
import pathlib
import tempfile
import unittest
from xml.sax.saxutils import escape

import reference

CONTRACT = "Completes when it is done; returns the count. Cancelled, it throws."


def function(name, described, type_name="detail::some_operation", detailed="", takes=()):
    """`described` may be of several overloads."""
    parameters = "".join(f"<param><type>{escape(each)}</type></param>" for each in takes)
    texts = described if isinstance(described, tuple) else (described,)
    return "".join(
        f'<memberdef kind="function" id="{name}{number}" prot="public">'
        f"<type>{escape(type_name)}</type><qualifiedname>{name}</qualifiedname>{parameters}"
        f"<briefdescription><para>{escape(text)}</para></briefdescription>"
        f"<detaileddescription>{escape(detailed)}</detaileddescription>"
        f'<location file="a.hpp" line="{number}"/></memberdef>'
        for number, text in enumerate(texts))


def compound(name, *members, base=None, described=""):
    bases = f"<basecompoundref>{escape(base)}</basecompoundref>" if base else ""
    return (f"<doxygen><compounddef><compoundname>{name}</compoundname>{bases}"
            f"<briefdescription>{escape(described)}</briefdescription>"
            f"{''.join(members)}</compounddef></doxygen>")


def type_of(name, described="", *members, kind="struct", prot="public"):
    return (f'<doxygen><compounddef id="{name}" kind="{kind}" prot="{prot}">'
            f"<compoundname>{name}</compoundname><briefdescription/>"
            f"<detaileddescription>{described}</detaileddescription>{''.join(members)}"
            f'<location file="a.hpp" line="1"/></compounddef></doxygen>')


def type_member(name, kind):
    return (f'<memberdef kind="{kind}" id="m" prot="public"><qualifiedname>{name}</qualifiedname>'
            f'<location file="a.hpp" line="2"/></memberdef>')


def awaited(compounds):
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(compounds):
            kind = "namespace" if "<compoundname>rondo</compoundname>" in each else "class"
            (pathlib.Path(folder) / f"{kind}{number}.xml").write_text(each)
        return list(reference.awaited_functions(pathlib.Path(folder)))


def found(*compounds):
    """The names of the functions without a contract."""
    return [each.name for each in reference.without_contract(awaited(compounds))]


def unsaid(*compounds):
    return [missing for _, missing in reference.unsaid(awaited(compounds))]


class ReferenceTest(unittest.TestCase):
    def found_in_socket(self, described, detailed=""):
        return found(compound("rondo::socket", function("rondo::socket::recv", described,
                                                        detailed=detailed)))

    def test_a_contract_says_what_comes_and_what_else_ends_it(self):
        self.assertEqual(self.found_in_socket(CONTRACT), [])
        self.assertEqual(self.found_in_socket("Completes when it is done.", "Never throws."), [])
        for text in ("", "Several buffers as if they were one.", "The same for a chunk.",
                     "Completes when it is done.", "Throws socket_error."):
            self.assertEqual(self.found_in_socket(text), ["rondo::socket::recv"], text)

    def test_each_overload_is_asked(self):
        self.assertEqual(self.found_in_socket((CONTRACT, "The same on lease.")),
                         ["rondo::socket::recv"])
        self.assertEqual(self.found_in_socket((CONTRACT, "As recv(buffer), on lease.")), [])

    def test_what_is_referred_to_must_have_one(self):
        self.assertEqual(self.found_in_socket("As recv(), on lease."), ["rondo::socket::recv"])
        self.assertEqual(self.found_in_socket((CONTRACT, "As receive(), on lease.")),
                         ["rondo::socket::recv"])
        self.assertEqual(self.found_in_socket(("As recv(a).", "As recv(b).")),
                         2 * ["rondo::socket::recv"])
        self.assertEqual(found(compound("rondo", function("rondo::a", "As b()."),
                                        function("rondo::b", "As c()."),
                                        function("rondo::c", CONTRACT))), [])

    def test_where_a_name_is_looked_up(self):
        base = compound("rondo::base", function("rondo::base::close", CONTRACT))
        other = compound("rondo::other", function("rondo::other::send", CONTRACT))
        derived = "rondo::derived"

        def of(text):
            return found(base, other, compound(derived, function(f"{derived}::end", text),
                                               base="base< endpoint >"))
        self.assertEqual(of("As close(), at once."), [])
        self.assertEqual(of("As other::send(), at once."), [])
        self.assertEqual(of("As send(), at once."), [f"{derived}::end"])

    def test_what_is_borrowed_has_its_life_told(self):
        def of(text, *takes):
            return unsaid(compound("rondo", function("rondo::f", CONTRACT + text, takes=takes)))
        life = ["how long what it borrows must live"]
        for each in ("std::span< const std::byte >", "const_buffer", "std::string_view", "To &",
                     "const Buffers &..."):
            self.assertEqual(of("", "int", each), life, each)
            self.assertEqual(of(" It must live until then.", each), [], each)
        for each in ("int", "std::string", "A &&", "Arguments &&...", "const endpoint &"):
            self.assertEqual(of("", each), [], each)

    def test_a_count_has_its_zero_told(self):
        def of(text, takes):
            return unsaid(compound("rondo", function("rondo::f", text, takes=[takes])))
        room, text = "std::span< std::byte >", CONTRACT + " The buffer must live until then."
        self.assertEqual(of(text, room), ["what 0 means"])
        self.assertEqual(of(text + " 0 is the end.", room), [])
        self.assertEqual(of(text, "const_buffer"), [])

    def test_overlap_and_cancellation_are_told_there_or_at_the_class(self):
        def of(text, at_class="", at_base=""):
            return unsaid(compound("rondo::base", described=at_base),
                          compound("rondo::one", function("rondo::one::wait", text), base="base",
                                   described=at_class))
        overlap, cancel = (f"what {what}, nor does its class"
                           for what in ("may overlap", "a cancellation does"))
        self.assertEqual(of("Completes. Throws socket_error."), [overlap, cancel])
        self.assertEqual(of("Completes. Throws operation_canceled. One at a time."), [])
        self.assertEqual(of("Completes.", "They may overlap. Cancelled, they throw."), [])
        self.assertEqual(of("Completes.", "Cancelled, they throw.", "One at a time."), [])
        free = function("rondo::wait", "Completes. Throws socket_error.")
        self.assertEqual(unsaid(compound("rondo", free)), [cancel])

    def test_what_is_referred_to_says_it_as_well(self):
        said = CONTRACT + " The view must live until then."
        self.assertEqual(unsaid(compound(
            "rondo", function("rondo::a", "As b().", takes=["std::string_view"]),
            function("rondo::b", "As c()."), function("rondo::c", said))), [])
        self.assertEqual(unsaid(compound(
            "rondo", function("rondo::a", ("As a().", "As a()."), takes=["To &"]))),
            2 * ["how long what it borrows must live", "what a cancellation does, nor does its class"])

    def test_each_type_that_users_see_says_what_it_is_for(self):
        def bare(*types):
            with tempfile.TemporaryDirectory() as folder:
                for number, each in enumerate(types):
                    (pathlib.Path(folder) / f"struct{number}.xml").write_text(each)
                found = list(reference.types(pathlib.Path(folder)))
                return [line.split()[1] for line in reference.missing_text([], found)]
        self.assertEqual(bare(type_of("rondo::serve_options", "How to serve.")), [])
        for kind in ("class", "struct", "union", "concept"):
            self.assertEqual(bare(type_of("rondo::serve_options", kind=kind)),
                             ["rondo::serve_options"], kind)
        self.assertEqual(bare(type_of("rondo::a::b", prot="protected")), ["rondo::a::b"])
        self.assertEqual(bare(type_of("rondo::a::b", prot="private")), [])
        for kind in ("enum", "typedef"):
            member = type_member("rondo::mode", kind)
            self.assertEqual(bare(type_of("rondo", "", member, kind="namespace")), ["rondo::mode"])
        self.assertEqual(bare(type_of("rondo::a", "An a.", type_member("rondo::a::phase", "enum"))),
                         ["rondo::a::phase"])
        self.assertEqual(bare(type_of("rondo::a", "An a.", type_member("rondo::a::t", "typedef"))),
                         [])

    def test_all_stand_on_a_page(self):
        function_id, type_id = "namespacerondo_1a12f", "structrondo_1_1serve__options"
        with tempfile.TemporaryDirectory() as folder:
            html = pathlib.Path(folder)
            for identifier in (function_id, type_id):
                self.assertFalse(reference.is_shown(html, identifier), identifier)
        with tempfile.TemporaryDirectory() as folder:
            html = pathlib.Path(folder)
            (html / f"{type_id}.html").write_text("")
            (html / "namespacerondo.html").write_text('<a id="a12f" name="a12f"></a>')
            self.assertTrue(reference.is_shown(html, function_id))
            self.assertTrue(reference.is_shown(html, type_id))
            self.assertFalse(reference.is_shown(html, "namespacerondo_1a12"))
            self.assertFalse(reference.is_shown(html, "structrondo_1_1serve"))

    def test_what_is_on_no_page_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            xml_folder = pathlib.Path(folder)
            (xml_folder / "class0.xml").write_text(
                type_of("rondo::task", "", function("rondo::task::join", CONTRACT)))
            functions = list(reference.awaited_functions(xml_folder))
            types = list(reference.types(xml_folder))
            told = list(reference.missing_pages(functions, types, xml_folder))
        self.assertEqual([line for line in told if "stands on no page" in line],
                         ["lib/a.hpp:0: rondo::task::join stands on no page",
                          "lib/a.hpp:1: rondo::task stands on no page"])

    def test_what_the_first_page_names_is_a_link(self):
        page = '<tr><td>serve</td><td><a class="el" href="x.html">rondo::tcp_serve()</a>, {}</td>'
        self.assertEqual(reference.unlinked(page.format('<a href="y.html">rondo::options</a>')), [])
        self.assertEqual(reference.unlinked(page.format("rondo::options")), ["rondo::options"])

    def test_what_is_not_awaited_is_left_alone(self):
        self.assertEqual(found(compound("rondo", function("rondo::size", "", "std::size_t"))), [])
        self.assertEqual(found(compound("rondo", function("rondo::copy", "", "task< T >"))),
                         ["rondo::copy"])


if __name__ == "__main__":
    unittest.main()
