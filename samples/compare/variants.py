"""The servers that are compared: what each is, how it is started, what it cannot do."""
import os
from typing import NamedTuple, Optional

FOLDER = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.dirname(FOLDER)
ROOT = os.path.dirname(SAMPLES)
BUILT = os.path.join(ROOT, "build", "release", "samples")


class Variant(NamedTuple):
    name: str
    title: str
    program: str                  # below the folder of the built samples
    source: str                   # below samples/
    shared: tuple = ()            # what it includes and other programs do, too
    engine: Optional[str] = None  # of rondo
    most_connections: Optional[int] = None
    why_not_more: str = ""
    package: Optional[str] = None  # the package it needs to be built
    ring: bool = False            # needs io_uring, which some places forbid

    def environment(self):
        """Only rondo's variants look at RONDO_ENGINE."""
        environment = dict(os.environ)
        if self.engine:
            environment["RONDO_ENGINE"] = self.engine
        return environment

    def command(self, built):
        return [os.path.join(built, self.program), "127.0.0.1:0"]


NET = "blocking/net.hpp"
COMMAND_LINE = ("command_line.hpp", "command_line.cpp")
# select() knows descriptors below 1024; some are the program's own.
SELECT = {"most_connections": 1000,
          "why_not_more": "select() knows no descriptor past 1023"}

ECHO = (
    Variant("one-at-a-time", "one at a time", "blocking/echo_one_at_a_time",
            "blocking/echo_one_at_a_time.cpp", ("blocking/interruption.hpp", NET),
            most_connections=1, why_not_more="serves one connection at a time"),
    Variant("threads", "threads", "blocking/echo_threads", "blocking/echo_threads.cpp", (NET,)),
    Variant("select", "select", "blocking/echo_select", "blocking/echo_select.cpp", (NET,),
            **SELECT),
    Variant("poll", "poll", "blocking/echo_poll", "blocking/echo_poll.cpp", (NET,)),
    Variant("epoll", "epoll", "blocking/echo_epoll", "blocking/echo_epoll.cpp", (NET,)),
    Variant("uring", "io_uring by hand", "blocking/echo_uring", "blocking/echo_uring.cpp", (NET,),
            ring=True),
    Variant("rondo-uring", "rondo on io_uring", "echo_server", "echo_server.cpp", COMMAND_LINE,
            engine="uring", ring=True),
    Variant("rondo-epoll", "rondo on epoll", "echo_server", "echo_server.cpp", COMMAND_LINE,
            engine="epoll"),
    Variant("asio-epoll", "Asio on epoll", "compare_asio_epoll", "compare/asio_echo.cpp",
            package="libasio-dev"),
    Variant("asio-uring", "Asio on io_uring", "compare_asio_uring", "compare/asio_echo.cpp",
            package="libasio-dev", ring=True),
)

CHAT_ROOM = ("blocking/chat_room.hpp", NET)
CHATS = (
    Variant("select", "select", "blocking/chat_select", "blocking/chat_select.cpp", CHAT_ROOM,
            **SELECT),
    Variant("epoll", "epoll", "blocking/chat_epoll", "blocking/chat_epoll.cpp", CHAT_ROOM),
    Variant("rondo-uring", "rondo on io_uring", "chat_server", "chat_server.cpp", COMMAND_LINE,
            engine="uring", ring=True),
    Variant("rondo-epoll", "rondo on epoll", "chat_server", "chat_server.cpp", COMMAND_LINE,
            engine="epoll"),
)


def chat_or_none(echo):
    """The chat server of that kind; where there is none, a variant without a program."""
    return next((each for each in CHATS if each.name == echo.name),
                Variant(echo.name, echo.title, program="", source=""))


CHAT = tuple(chat_or_none(each) for each in ECHO)


def names():
    return [variant.name for variant in ECHO]


def matches(variant, wanted):
    """Whether one of the names means it: `rondo` means rondo-uring and rondo-epoll."""
    return not wanted or any(variant.name == name or variant.name.startswith(name + "-")
                             for name in wanted)


def of_profile(profile, wanted=()):
    return [variant for variant in (CHAT if profile == "room" else ECHO)
            if matches(variant, wanted)]
