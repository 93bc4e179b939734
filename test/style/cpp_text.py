"""C++ source as tokens and nested groups, as far as the style checks need it.

No preprocessing and no types: comments and directives are dropped, literals become one token each.
"""
import re

TOKEN = re.compile(r"""
    (?P<blank>\s+|\\\n)
  | (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<raw>(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)")
  | (?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")
  | (?P<number>\.?\d(?:[eEpP][+-]|'[0-9a-zA-Z]|[\w.])*)
  | (?P<char>(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
  | (?P<name>[A-Za-z_]\w*)
  | (?P<mark2>::|->|\[\[|\]\]|&&|\|\||[=!<>+\-*/%&|^]=|\.\.\.)
  | (?P<one>.)
""", re.VERBOSE | re.DOTALL)

DIRECTIVE = re.compile(r"^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
CLOSING = {"(": ")", "[": "]", "{": "}"}


class Token:
    __slots__ = ("text", "line")

    def __init__(self, text, line):
        self.text, self.line = text, line


class Group:
    """What stands between a bracket and its partner: tokens and groups."""
    __slots__ = ("text", "line", "end", "children", "is_lambda_body")

    def __init__(self, bracket, line):
        self.text, self.line, self.end = bracket, line, line
        self.children = []
        self.is_lambda_body = False


def tokens(source):
    """The tokens, with `]]` apart, so that brackets nest."""
    source = blank_directives(source)
    line = 1
    for match in TOKEN.finditer(source):
        text = match.group()
        kind = match.lastgroup
        if kind == "mark2" and text in ("[[", "]]"):
            yield Token(text[0], line)
            yield Token(text[0], line)
        elif kind in ("raw", "text", "char"):
            yield Token('""', line)
        elif kind not in ("blank", "comment"):
            yield Token(text, line)
        line += text.count("\n")


def blank_directives(source):
    """Preprocessor lines emptied, outside comments and raw strings; the line count stays."""
    kept = [(m.start(), m.end()) for m in TOKEN.finditer(source)
            if m.lastgroup in ("comment", "raw", "mark")]

    def blank(match):
        if any(start < match.start() < end for start, end in kept):
            return match.group()
        return "\n" * match.group().count("\n")
    return DIRECTIVE.sub(blank, source)


def parse(source):
    """The whole source as one brace group."""
    root = Group("{", 1)
    stack = [root]
    for token in tokens(source):
        if token.text in CLOSING:
            group = Group(token.text, token.line)
            stack[-1].children.append(group)
            stack.append(group)
        elif token.text in (")", "]", "}"):
            # An unbalanced bracket closes what it can: both arms of an #if are read.
            if any(CLOSING[g.text] == token.text for g in stack[1:]):
                while CLOSING[stack[-1].text] != token.text:
                    stack.pop()
                stack.pop().end = token.line
        else:
            stack[-1].children.append(token)
    mark_lambdas(root)
    return root


BEFORE_LAMBDA = {"return", "co_return", "co_await", "co_yield", "case", "else", "throw", "in"}


def is_name(item):
    return isinstance(item, Token) and (item.text[0].isalpha() or item.text[0] == "_")


def is_lambda_introducer(children, i):
    """Whether children[i] is the `[...]` of a lambda, and neither subscript nor attribute."""
    group = children[i]
    if not isinstance(group, Group) or group.text != "[":
        return False
    if len(group.children) == 1 and isinstance(group.children[0], Group) \
            and group.children[0].text == "[":
        return False
    if i == 0:
        return True
    before = children[i - 1]
    if isinstance(before, Group):
        return before.text == "{"
    if is_name(before):
        return before.text in BEFORE_LAMBDA
    return before.text != '""' and not before.text[0].isdigit()


def lambda_body(children, i):
    """The body of the lambda introduced at children[i], or None."""
    angles = 0
    for item in children[i + 1:]:
        if isinstance(item, Group):
            if item.text == "{":
                return item
        elif item.text in "<>":
            angles += 1 if item.text == "<" else -1
        elif item.text in (";", ",", "=") and angles == 0:
            return None
    return None


def mark_lambdas(group):
    children = group.children
    for i, item in enumerate(children):
        if is_lambda_introducer(children, i):
            body = lambda_body(children, i)
            if body:
                body.is_lambda_body = True
        if isinstance(item, Group):
            mark_lambdas(item)


def surface(items):
    """Tokens and groups in `items`, depth first, without what is inside the bodies of lambdas."""
    for item in items:
        yield item
        if isinstance(item, Group) and not item.is_lambda_body:
            yield from surface(item.children)


def mentions(items, *names):
    return any(isinstance(item, Token) and item.text in names for item in surface(items))


def is_block(group):
    """Whether a brace group holds statements or members, and no initializers."""
    return group.text == "{" and (
        group.is_lambda_body
        or not group.children
        or any(isinstance(i, Token) and i.text == ";" for i in surface(group.children)))


CONTROL = {"if", "while", "switch", "for", "catch"}


def statements(block):
    """The statements of a block, nested ones included, each as a list of tokens and groups.

    A condition is a statement of its own; so is every part between two semicolons of a for.
    """
    current = []
    children = block.children
    i = 0
    while i < len(children):
        item = children[i]
        if isinstance(item, Token) and item.text == ";":
            yield current
            current = []
        elif isinstance(item, Token) and item.text in ("else", "do", "try"):
            yield current
            current = []
        elif isinstance(item, Token) and item.text in CONTROL and not current:
            i = skip_to_condition(children, i)
            if i < len(children):
                yield from split(children[i].children, ";")
        elif isinstance(item, Group) and item.text == "{" and is_block(item) \
                and not item.is_lambda_body and item.children:
            yield current
            current = []
            yield from statements(item)
        else:
            current.append(item)
        i += 1
    yield current


def skip_to_condition(children, i):
    while i < len(children) and not (isinstance(children[i], Group) and children[i].text == "("):
        i += 1
    return i


def split(items, separator):
    part = []
    for item in items:
        if isinstance(item, Token) and item.text == separator:
            yield part
            part = []
        else:
            part.append(item)
    yield part


def all_groups(group):
    for item in group.children:
        if isinstance(item, Group):
            yield item
            yield from all_groups(item)


def regions(root):
    """The whole file and the body of every lambda: statements() looks into no lambda by itself."""
    yield root
    for group in all_groups(root):
        if group.is_lambda_body:
            yield group
