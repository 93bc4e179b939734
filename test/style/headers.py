#!/usr/bin/env python3
"""Compiles every header of the library alone, and included twice, but for those that their own
source includes first, as the build has compiled them so:
headers.py [--include DIR[;DIR...]]... -- COMPILER [FLAG...]
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys


def compile_alone(command, name):
    source = f"#include <{name}>\n#include <{name}>\n"
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return name, done.returncode, done.stderr


def is_first_of_its_source(lib, name):
    """What is included first is compiled alone. That it can be included twice, and needs no
    liburing, is checked by check.py: each header has its #pragma once, and none has that library's.
    """
    source = lib / pathlib.Path(name).with_suffix(".cpp")
    if not source.exists():
        return False
    first = next(line for line in source.read_text().splitlines() if line.startswith("#include"))
    return first == f"#include <{name}>"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--lib", type=pathlib.Path,
                           default=pathlib.Path(__file__).resolve().parents[2] / "lib")
    arguments.add_argument("--include", action="append", default=[])
    arguments.add_argument("compiler", nargs="+")
    given = arguments.parse_args()

    directories = [d for joined in given.include for d in joined.split(";") if d]
    ours = given.lib.resolve()
    places = [f"-I{ours}"]
    for directory in directories:
        if pathlib.Path(directory).resolve() not in (ours, pathlib.Path("/usr/include")):
            places += ["-isystem", directory]
    command = [*given.compiler, *places, "-fsyntax-only", "-x", "c++", "-"]
    found = sorted(p.relative_to(ours).as_posix() for p in (ours / "rondo").rglob("*.hpp"))
    names = [name for name in found if not is_first_of_its_source(ours, name)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, code, text in pool.map(lambda n: compile_alone(command, n), names):
            if code != 0:
                failed += 1
                print(f"{name} does not compile alone:\n{text}")
    print(f"headers: {len(names) - failed} of {len(names)} compile alone, "
          f"{len(found) - len(names)} more come first in their source")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
