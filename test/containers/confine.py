#!/usr/bin/env python3
"""Runs a command under a seccomp profile, as a container runtime does.

`confine.py [--also NAME] [--without NAME] [--kill] PROFILE COMMAND...`. PROFILE is a file in
Docker's format, of which this knows what docs/seccomp.json is made of, and refuses the rest. --also
allows one more system call, --without leaves one out; with --kill what the profile does not name
ends the process by SIGSYS instead of failing.
"""
import argparse
import ctypes
import errno
import json
import os
import platform
import re
import resource
import struct
import sys

# <linux/audit.h>, <linux/seccomp.h>, <linux/prctl.h>
AUDIT_ARCH_X86_64 = 0xC000003E
RET_KILL_PROCESS = 0x80000000
RET_ERRNO = 0x00050000
RET_ALLOW = 0x7FFF0000
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

# <linux/bpf_common.h>
LOAD_WORD = 0x20
JUMP_IF_EQUAL = 0x15
AND = 0x54
RETURN = 0x06

# struct seccomp_data: the number, the architecture, and the low and high half of each argument.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# Newer than the headers of Debian 12; the same on all architectures.
NEWER = {"cachestat": 451}
HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")


def numbers():
    """The number of each system call by its name, from the kernel's header."""
    for path in HEADERS:
        if os.path.exists(path):
            with open(path, encoding="ascii") as header:
                found = re.findall(r"^#define __NR_(\w+) (\d+)$", header.read(), re.MULTILINE)
            return NEWER | {name: int(number) for name, number in found}
    sys.exit(f"confine.py: none of {', '.join(HEADERS)}")


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def known(fields, allowed, where):
    for field in set(fields) - set(allowed):
        sys.exit(f"confine.py: {where}: '{field}' is not understood")


def action(entry, name):
    """What the filter returns for `entry`."""
    if entry[name] == "SCMP_ACT_ALLOW":
        return RET_ALLOW
    if entry[name] != "SCMP_ACT_ERRNO":
        sys.exit(f"confine.py: '{entry[name]}' is not understood")
    field = "defaultErrnoRet" if name == "defaultAction" else "errnoRet"
    return RET_ERRNO | entry.get(field, errno.EPERM)


def masked_compare(test):
    """Leaves with the next instruction where the argument is as `test` wants, else over one."""
    known(test, ("index", "value", "valueTwo", "op"), "args")
    if test["op"] != "SCMP_CMP_MASKED_EQ":
        sys.exit(f"confine.py: '{test['op']}' is not understood")
    mask, wanted = test["value"], test["valueTwo"]
    low = ARGUMENTS + 8 * test["index"]
    return b"".join([instruction(LOAD_WORD, low + 4),
                     instruction(AND, mask >> 32),
                     instruction(JUMP_IF_EQUAL, wanted >> 32, 0, 4),
                     instruction(LOAD_WORD, low),
                     instruction(AND, mask & 0xFFFFFFFF),
                     instruction(JUMP_IF_EQUAL, wanted & 0xFFFFFFFF, 0, 1)])


def rules(profile):
    """(names, action, args) of each entry."""
    known(profile, ("defaultAction", "defaultErrnoRet", "architectures", "syscalls"), "profile")
    if profile["architectures"] != ["SCMP_ARCH_X86_64"]:
        sys.exit("confine.py: other architectures than x86-64 are not understood")
    for entry in profile["syscalls"]:
        known(entry, ("names", "action", "errnoRet", "args", "comment"), "syscalls")
        yield entry["names"], action(entry, "action"), entry.get("args", [])


def allowed(profile):
    """The names of all system calls that can succeed."""
    return {name for names, result, _ in rules(profile) if result == RET_ALLOW for name in names}


def compile_profile(profile, also=(), without=(), kill=False):
    """The program for the kernel."""
    number_of = numbers()
    program = [instruction(LOAD_WORD, ARCHITECTURE),
               instruction(JUMP_IF_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
               instruction(RETURN, RET_KILL_PROCESS)]
    left_out = set(without)
    for names, result, args in [*rules(profile), (also, RET_ALLOW, [])]:
        for name in names:
            if name in without:
                left_out.discard(name)
                continue
            if len(args) > 1:
                sys.exit(f"confine.py: {name}: more than one argument is not understood")
            if name not in number_of:  # a newer kernel's, as in libseccomp
                continue
            test = masked_compare(args[0]) if args else b""
            body = test + instruction(RETURN, result)
            program += [instruction(LOAD_WORD, NUMBER),
                        instruction(JUMP_IF_EQUAL, number_of[name], 0, len(body) // 8), body]
    if left_out:
        sys.exit(f"confine.py: not in the profile: {', '.join(sorted(left_out))}")
    default = RET_KILL_PROCESS if kill else action(profile, "defaultAction")
    return b"".join(program + [instruction(RETURN, default)])


def confine(program):
    """From here on this process and what it runs has the calls of `program` alone."""
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    filter_ = Program(len(program) // 8, program)
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filter_), 0, 0) != 0):
        sys.exit(f"confine.py: prctl: {os.strerror(ctypes.get_errno())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--also", action="append", default=[], metavar="NAME")
    parser.add_argument("--without", action="append", default=[], metavar="NAME")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("profile")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if platform.machine() != "x86_64":
        sys.exit("confine.py: the profile is for x86-64")
    with open(given.profile, encoding="utf-8") as file:
        program = compile_profile(json.load(file), given.also, given.without, given.kill)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGSYS would leave one
    confine(program)
    os.execv(given.command[0], given.command)


if __name__ == "__main__":
    main()
