#!/usr/bin/env python3
"""Proves that the check of the reference can fail, on what Doxygen writes of awaited functions."""
import pathlib
import tempfile
import unittest
from xml.sax.saxutils import escape

import reference

CONTRACT = "Completes when it is done; returns the count. Cancelled, it throws."


def function(name, described, type_name="detail::some_operation", detailed=""):
    """`described` may be of several overloads."""
    texts = described if isinstance(described, tuple) else (described,)
    return "".join(
        f'<memberdef kind="function" id="{name}{number}" prot="public">'
        f"<type>{escape(type_name)}</type><qualifiedname>{name}</qualifiedname>"
        f"<briefdescription><para>{escape(text)}</para></briefdescription>"
        f"<detaileddescription>{escape(detailed)}</detaileddescription>"
        f'<location file="a.hpp" line="{number}"/></memberdef>'
        for number, text in enumerate(texts))


def compound(name, *members, base=None):
    bases = f"<basecompoundref>{escape(base)}</basecompoundref>" if base else ""
    return (f"<doxygen><compounddef><compoundname>{name}</compoundname>{bases}"
            f"{''.join(members)}</compounddef></doxygen>")


def found(*compounds):
    """The names of the functions without a contract."""
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(compounds):
            (pathlib.Path(folder) / f"class{number}.xml").write_text(each)
        functions = list(reference.awaited_functions(pathlib.Path(folder)))
        return [each.name for each in reference.without_contract(functions)]


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

    def test_what_is_not_awaited_is_left_alone(self):
        self.assertEqual(found(compound("rondo", function("rondo::size", "", "std::size_t"))), [])
        self.assertEqual(found(compound("rondo", function("rondo::copy", "", "task< T >"))),
                         ["rondo::copy"])


if __name__ == "__main__":
    unittest.main()
