"""The forms of co_await that GCC 12 miscompiles without a warning.

Each is reported wherever it stands, also where a given type would happen to get away with it: a
reader cannot see which types are trivial, and binding to a name first costs nothing.
"""
import re

from cpp_text import (Group, Token, is_lambda_introducer, is_name, lambda_body, mentions, parse,
                      regions, split, statements, surface)

ASSERTION = re.compile(r"(CHECK|REQUIRE|INFO|UNSCOPED_INFO|CAPTURE|WARN|SUCCEED|FAIL|SKIP)"
                       r"(_[A-Z_]+)?$|assert$")
CONDITIONS = {"if", "while", "switch"}


def awaits(items):
    return mentions(items, "co_await")


def line_of(items):
    return next((item.line for item in items), 0)


def declares(items):
    """Whether `items` read `TYPE NAME = ...`, which an assignment does not."""
    before = []
    for item in items:
        if isinstance(item, Token) and item.text == "=":
            if len(before) < 2 or not is_name(before[0]) or awaits(before):
                return False
            *_, kind, name = before
            return (is_name(name) or name.text == "[") \
                and (is_name(kind) or kind.text in (">", "&", "&&", "*"))
        before.append(item)
    return False


def conditions(children):
    """Every condition in `children`, outside lambdas, as its keyword and its parts."""
    seen = list(children)
    for i, item in enumerate(seen):
        if isinstance(item, Group):
            if not item.is_lambda_body:
                yield from conditions(item.children)
            continue
        if item.text not in CONDITIONS | {"for"}:
            continue
        rest = [g for g in seen[i + 1:i + 3] if isinstance(g, Group) and g.text == "("]
        if rest:
            parts = list(split(rest[0].children, ";"))
            if item.text == "for":
                parts = parts[1:2] if len(parts) == 3 else []
            yield item.text, parts


def check_conditions(region):
    for keyword, parts in conditions(region.children):
        for part in parts:
            if awaits(part) and not declares(part):
                yield line_of(part), (f"co_await in the condition of `{keyword}` without a "
                                      "declaration: bind it to a name first")


def captures_by_value(introducer):
    """Whether a capture list copies or moves anything in; `this` copies a pointer."""
    for capture in split(introducer.children, ","):
        words = [c.text for c in capture]
        if words and words[0] != "&" and words != ["this"]:
            return True
    return False


def check_lambdas(statement):
    for items in nested_lists(statement):
        for i, item in enumerate(items):
            if is_lambda_introducer(items, i) and lambda_body(items, i) \
                    and captures_by_value(item):
                yield item.line, ("a lambda with a by-value capture as a temporary next to "
                                  "co_await: name the lambda first")


def nested_lists(items):
    """`items` and the contents of its groups, outside the bodies of lambdas."""
    yield items
    for item in items:
        if isinstance(item, Group) and not item.is_lambda_body:
            yield from nested_lists(item.children)


def check_assertions(items):
    for i, item in enumerate(items[:-1]):
        group = items[i + 1]
        if is_name(item) and ASSERTION.match(item.text) and isinstance(group, Group) \
                and group.text == "(" and awaits(group.children):
            yield item.line, f"co_await inside {item.text}: bind it to a name first"


def check_ternary(items):
    for i, item in enumerate(items):
        if not (isinstance(item, Token) and item.text == "?"):
            continue
        depth, colon = 0, None
        for j in range(i + 1, len(items)):
            text = items[j].text if isinstance(items[j], Token) else ""
            if text == "?":
                depth += 1
            elif text == ":" and depth == 0:
                colon = j
                break
            elif text == ":":
                depth -= 1
        if colon is None:
            continue
        otherwise = next(split(items[colon + 1:], ","))
        if awaits(items[i + 1:colon]) and awaits(otherwise):
            yield item.line, "co_await on both sides of `? :`: use if and else"


def check_new(items):
    for i, item in enumerate(items):
        if isinstance(item, Token) and item.text == "new":
            if awaits(next(split(items[i + 1:], ","))):
                yield item.line, "co_await inside a new-expression: bind it to a name first"


def is_designated(group):
    return bool(group.children) and isinstance(group.children[0], Token) \
        and group.children[0].text == "."


def check_braces(items, in_parentheses):
    """`items` belong to a full expression with co_await."""
    for i, item in enumerate(items):
        if not (isinstance(item, Group) and item.text == "{") or item.is_lambda_body \
                or not item.children:
            continue
        before = items[i - 1] if i else None
        bare = before is None or isinstance(before, Token) and before.text == ","
        awaited = is_name(before) and i >= 2 and isinstance(items[i - 2], Token) \
            and items[i - 2].text == "co_await"
        if awaits(item.children):
            yield item.line, "co_await inside braces: bind it to a name first"
        elif in_parentheses and bare:
            yield item.line, "a bare initializer list next to co_await: name it first"
        elif is_designated(item):
            yield item.line, "a braced aggregate next to co_await: name it first"
        elif awaited:
            yield item.line, "co_await of a braced temporary: let a function return it"


def check_statement(statement):
    if not awaits(statement):
        return
    yield from check_lambdas(statement)
    yield from check_braces(statement, in_parentheses=False)
    groups = [g for g in surface(statement) if isinstance(g, Group) and not g.is_lambda_body]
    for items in [statement] + [g.children for g in groups]:
        yield from check_assertions(items)
        yield from check_ternary(items)
        yield from check_new(items)
    for group in groups:
        yield from check_braces(group.children, in_parentheses=group.text == "(")


def check(source):
    """Pairs of line and message."""
    found = set()
    for region in regions(parse(source)):
        found.update(check_conditions(region))
        for statement in statements(region):
            found.update(check_statement(statement))
    return sorted(found)
