#!/usr/bin/env python3
"""The package as its users meet it: `check.py BUILD`, a folder where the library is built.

Installs with DESTDIR and a prefix, moves the tree, and builds and runs a user's programs against
it: by find_package, and by pkg-config with a bare compiler. No installed file may name the folders
of the source, of the build or of the prefix. A third user adds the source by add_subdirectory, as a
shared library and with clang; what that installs is used in both ways, too. Ends with 0 when all of
it holds.

No build tree is around while users build: BUILD, or `build` with all that is in it where BUILD is
there, is renamed meanwhile, to `build.away`. So nothing else may use it.

The commands are README.md's, but for the folders. One of them is not run: `cmake --build` would take
a minute and a half of a processor to make BUILD again; what it would build is configured, though.
"""
import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
README = (ROOT / "README.md").read_text()
PREFIX = pathlib.Path("/opt/rondo")  # README's
# What a user's build knows of packages beside these is the system's.
CLEAN = {name: value for name, value in os.environ.items()
         if not name.startswith(("CMAKE_", "PKG_CONFIG_", "DESTDIR", "LD_"))}
SAID = "hello from [::1]:80 and 2 threads\n"


def run(*command, cwd=None, **environment):
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=CLEAN | environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300)
    if done.returncode != 0:
        line = " ".join(str(word) for word in command)
        raise SystemExit(f"install: {line}\n{done.stdout}install: ended with {done.returncode}")
    return done.stdout


def away_name(tree):
    return tree.with_name(tree.name + ".away")


def put_back(tree):
    """Also what a killed run has left."""
    if not away_name(tree).exists():
        return
    if tree.exists():
        raise SystemExit(f"install: there are both {tree} and {away_name(tree)}: remove one")
    away_name(tree).rename(tree)


@contextlib.contextmanager
def away(*trees):
    with contextlib.ExitStack() as back:
        for tree in trees:
            back.callback(put_back, tree)
            tree.rename(away_name(tree))
        yield


def readme_block(first_words):
    """The lines of README's block of sh that begins with these words."""
    found = re.findall(r"```sh\n(" + re.escape(first_words) + r".*?)```", README, re.DOTALL)
    if len(found) != 1:
        raise SystemExit(f"install: README has {len(found)} blocks that begin with {first_words}")
    return found[0]


def run_lines(lines, cwd, **environment):
    return run("bash", "-euo", "pipefail", "-c", lines, cwd=cwd, **environment)


def configure(folder):
    """By README's line, in a folder of its own."""
    configured, built, _ = readme_block("cmake -S . -B build/package").splitlines()
    if built != "cmake --build build/package":
        raise SystemExit(f"install: README builds by {built}")
    run_lines(configured.replace("build/package", str(folder)), ROOT)
    targets = run("cmake", "--build", folder, "--target", "help")
    if "rondo_tests" in targets or "echo_server" in targets:
        raise SystemExit("install: README's package builds tests or samples")


def install(build, stage, moved_to):
    """Installs below `stage`, and moves what stands at the prefix there to `moved_to`."""
    line = readme_block("cmake -S . -B build/package").splitlines()[-1]
    run_lines(line.replace("build/package", str(build)), ROOT, DESTDIR=str(stage))
    files = [path for path in stage.rglob("*") if not path.is_dir()]
    outside = [path for path in files if stage / PREFIX.relative_to("/") not in path.parents]
    if outside:
        raise SystemExit(f"install: not below the prefix: {outside}")
    (stage / PREFIX.relative_to("/")).rename(moved_to)
    headers = {path.relative_to(ROOT / "lib") for path in (ROOT / "lib").rglob("*.hpp")}
    installed = {path.relative_to(moved_to / "include") for path in moved_to.rglob("*.hpp")}
    if headers != installed:
        raise SystemExit(f"install: headers differ by {sorted(headers ^ installed)}")
    check_paths(moved_to, [ROOT, build, PREFIX])


def check_paths(tree, unwanted):
    for path in sorted(tree.rglob("*")):
        if path.is_dir() or path.is_symlink():
            continue
        text = path.read_bytes()
        for folder in unwanted:
            if str(folder).encode() + b"/" in text:
                raise SystemExit(f"install: {path.relative_to(tree)} names {folder}")


def check_talk(program):
    for engine in ("auto", "epoll"):
        said = run(program, RONDO_ENGINE=engine)
        # Where there is no ring, one line before it says so.
        if not said.endswith(SAID):
            raise SystemExit(f"install: {program} said {said!r}, not {SAID!r}")


def by_find_package(work, sources, package):
    run("cmake", "-S", sources, "-B", work, "-G", "Ninja", f"-DSERVER={sources / 'server.cpp'}",
        f"-DCMAKE_PREFIX_PATH={package}",
        "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF")
    run("cmake", "--build", work)
    # Where there is no pkg-config, liburing is found, too.
    run("cmake", "-S", sources, "-B", work / "without", "-G", "Ninja",
        f"-DSERVER={sources / 'server.cpp'}", f"-DCMAKE_PREFIX_PATH={package}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON")
    if "liburing.so" not in (work / "without" / "build.ninja").read_text():
        raise SystemExit("install: without pkg-config, liburing is not linked")
    check_paths(work, [ROOT])
    check_talk(work / "talk")


def pkg_config(package, *what):
    folder = next(package.rglob("rondo.pc")).parent
    return run("pkg-config", *what, "rondo >= 0.1", "rondo < 0.2",
               PKG_CONFIG_PATH=str(folder)).split()


def compile_by_pkg_config(work, sources, package):
    """README's program by README's lines; the other one so that it can be linked in other ways."""
    work.mkdir()
    lines = readme_block("export PKG_CONFIG_PATH=").replace(str(PREFIX), str(package))
    flags = pkg_config(package, "--cflags")
    talk = subprocess.Popen(["g++", "-std=c++20", *flags, "-c", sources / "talk.cpp",
                             "-o", work / "talk.o"], env=CLEAN)
    try:
        run("cp", sources / "server.cpp", work)
        run_lines(lines, work)
    finally:
        code = talk.wait()
    if code != 0 or not (work / "a.out").exists():
        raise SystemExit(f"install: g++ with {' '.join(flags)} failed")


def link_by_pkg_config(work, package, *what, flags=()):
    run("g++", work / "talk.o", "-o", work / "talk", *pkg_config(package, "--libs", *what), *flags)
    check_talk(work / "talk")


def link_shared_by_pkg_config(work, package):
    """With the flag that README has for a shared library, and with nothing else that would help."""
    flags = re.findall(r"`(-Wl,-rpath,\S+)`", README)
    if len(flags) != 1:
        raise SystemExit(f"install: README tells g++ {flags} of a shared library")
    link_by_pkg_config(work, package, flags=[flags[0].replace(str(PREFIX), str(package))])


def link_shared_by_find_package(work, sources, package, objects):
    """Configured and linked; what was compiled before is taken as it is."""
    run("cmake", "-S", sources, "-B", work, "-G", "Ninja", f"-DTALK={objects / 'talk.o'}",
        f"-DCMAKE_PREFIX_PATH={package}", "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF")
    run("cmake", "--build", work)
    if b"librondo.so.0.1" not in (work / "talk").read_bytes():
        raise SystemExit("install: by find_package, no shared library was linked")
    check_talk(work / "talk")


def by_add_subdirectory(work, sources):
    run("cmake", "-S", sources, "-B", work, "-G", "Ninja", f"-DSERVER={sources / 'server.cpp'}",
        f"-DRONDO_SOURCE={ROOT}", "-DCMAKE_CXX_COMPILER=clang++-19", "-DCMAKE_CXX_FLAGS=-O0",
        "-DBUILD_SHARED_LIBS=ON", "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
        # What samples and tests need, a user of the library need not have.
        *(f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("CLI11", "Catch2", "ZLIB")))
    run("cmake", "--build", work)
    check_talk(work / "talk")


def timed(what, function, *arguments, **options):
    began = time.monotonic()
    result = function(*arguments, **options)
    print(f"install: {what}: {time.monotonic() - began:.0f} s", flush=True)
    return result


def check(build, build_tree, scratch):
    sources = scratch / "consumer"
    run("cp", "-r", HERE / "consumer", sources)
    example = re.search(r"```cpp\n(.*?)```", README, re.DOTALL)
    (sources / "server.cpp").write_text(example.group(1))

    package, static, shared = scratch / "package", scratch / "static", scratch / "shared"
    objects, with_source = scratch / "b", scratch / "c"
    timed("configure by README", configure, package)
    timed("install, moved", install, build, scratch / "stage", static)
    with away(build_tree, package):
        timed("find_package", by_find_package, scratch / "a", sources, static)
        timed("pkg-config, compiled", compile_by_pkg_config, objects, sources, static)
        timed("linked", link_by_pkg_config, objects, static)
        timed("linked --static", link_by_pkg_config, objects, static, "--static")
        timed("add_subdirectory, shared", by_add_subdirectory, with_source, sources)
        timed("install of that, moved", install, with_source, scratch / "stage2", shared)
        with away(with_source):
            timed("linked with that", link_shared_by_pkg_config, objects, shared)
            timed("find_package of that", link_shared_by_find_package, scratch / "d", sources,
                  shared, objects)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("build", type=pathlib.Path)
    build = arguments.parse_args().build.resolve()
    build_tree = ROOT / "build" if build.is_relative_to(ROOT / "build") else build
    put_back(build_tree)
    if not (build / "CMakeCache.txt").exists():
        raise SystemExit(f"install: nothing is built in {build}")
    # So that what is away comes back.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, frame: sys.exit(f"install: told to end by {number}"))
    with tempfile.TemporaryDirectory() as folder:
        check(build, build_tree, pathlib.Path(folder))
    print("install: all users were served")


if __name__ == "__main__":
    sys.exit(main())
