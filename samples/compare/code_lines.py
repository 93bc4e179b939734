"""Lines of code of a variant: those of its source that are neither blank nor comment."""
import os
import re

from variants import SAMPLES

# A string or a character is taken whole, so that what looks like a comment in it is none.
PIECES = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', re.DOTALL)
DIGIT_SEPARATOR = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")


def count_text(text):
    def keep(match):
        piece = match[0]
        if piece.startswith("//"):
            return ""
        return "\n" * piece.count("\n") if piece.startswith("/*") else piece
    bare = PIECES.sub(keep, DIGIT_SEPARATOR.sub("", text))
    return sum(1 for line in bare.split("\n") if line.strip())


def count_file(source):
    with open(os.path.join(SAMPLES, source)) as file:
        return count_text(file.read())


def count(variant):
    """Of its own source, and of what it shares with other programs."""
    return count_file(variant.source), sum(count_file(source) for source in variant.shared)
