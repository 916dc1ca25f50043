"""Which rooms of mesh/ a room may use, which libraries, and other rules that
keep rooms apart. docs/architecture.md shows the house."""

import re

GRPC = "com_github_grpc_grpc"
PROTOBUF = "com_google_protobuf"

# What most rooms stand on.
VALUES = ["base", "options", "cluster"]
# All that decides without I/O, below the call.
POLICIES = VALUES + ["balancing", "resilience", "telemetry"]

# room: (rooms that it may use beside itself, libraries beside Abseil). "log"
# and "fallback" are headers of mesh/ itself; "front" is mesh/front with
# mesh/mesh.h and mesh/mesh.cc. None: anything.
ROOMS = {
    "log": ([], []),
    "fallback": ([], [GRPC]),
    "base": ([], []),
    "v1": ([], [PROTOBUF]),
    "cluster": (["base"], []),
    "options": (["base", "cluster"], []),
    "balancing": (VALUES, []),
    "resilience": (VALUES, []),
    "telemetry": (["base", "cluster"], []),
    "discovery": (VALUES + ["log"], ["com_github_cares_cares"]),
    "security": (["base", "options"], [GRPC, PROTOBUF, "openssl"]),
    "call": (POLICIES, []),
    "upstream": (POLICIES + ["call"], []),
    "simulation": (POLICIES + ["call", "upstream"], []),
    "incoming": (["base", "security"], [GRPC]),
    "grpc": (["base"], [GRPC]),
    "service": (
        POLICIES + ["call", "discovery", "fallback", "grpc", "log", "upstream"],
        [GRPC, PROTOBUF],
    ),
    "channel": (
        POLICIES
        + ["call", "fallback", "grpc", "incoming", "log", "service", "upstream"],
        [GRPC],
    ),
    "config": (
        VALUES + ["security", "v1"],
        [PROTOBUF, "com_github_jbeder_yaml_cpp"],
    ),
    "certs": (["base", "options", "security"], [GRPC, PROTOBUF, "openssl"]),
    "check": (VALUES + ["config", "v1"], [PROTOBUF]),
    "server": (["base", "grpc", "incoming", "security"], [GRPC]),
    "testing": (None, None),
    "front": (None, None),
}

# Rooms that meet above, and never use each other, not even through a third.
STRANGERS = ["discovery", "balancing", "resilience", "security", "telemetry"]

# Headers of a library, by how they are included.
LIBRARY_HEADERS = {
    GRPC: re.compile(r'#include ["<]grpc(pp)?/'),
    "com_github_cares_cares": re.compile(r'#include ["<]ares'),
    "openssl": re.compile(r'#include ["<]openssl/'),
    PROTOBUF: re.compile(r'#include ["<]google/protobuf/'),
    "com_github_jbeder_yaml_cpp": re.compile(r'#include ["<]yaml-cpp/'),
}

# Names that stood for several things once: one type of mesh/ each, at most.
ONE_THING = (
    "Batch",
    "Call",
    "Closing",
    "Generations",
    "Hedging",
    "IdentityFiles",
    "PeerVerdict",
    "ServiceSnapshot",
    "Verdict",
    "World",
)

# Where gRPC's own friends are made use of.
ACCESS = "mesh/grpc/access.h"

TYPE = re.compile(
    r"\s*(?:template\s*<[^>]*>\s*)?(?:class|struct|union|enum(?: class)?)\s+"
    r"(?:[A-Z][A-Z_]+(?:\([^)]*\))?\s+)?(?:\w+::)*(\w+)"
)
FRIEND = re.compile(
    r"\s*friend\s+(?:class\s+|struct\s+)?([\w:]+)(?:<[^>]*>)?\s*;"
)
INCLUDE = re.compile(r'\s*#include "mesh/([^"]+)"')


def room_of_file(path):
    """The room of a file of mesh/, given by its path below mesh/."""
    if "/" in path:
        return path.split("/")[0]
    stem = path.split(".")[0]
    return stem if stem in ("log", "fallback") else "front"


def room_of_label(label):
    """The room of //mesh that a label is in, or None."""
    match = re.match(r"//mesh(?:/(\w+)[^:]*)?(?::(\S+))?$", label)
    if match is None:
        return None
    return match.group(1) or room_of_file(match.group(2) or "mesh")


def may_include(room):
    rooms = ROOMS[room][0]
    return "nothing of mesh" if not rooms else "only " + ", ".join(sorted(rooms))


def check_includes(path, text):
    """Includes of a file of mesh/ that its room may not have."""
    room = room_of_file(path[len("mesh/"):])
    if room not in ROOMS:
        return [f"{path}:1: room {room} is not in tools/lint_rooms.py"]
    rooms, libraries = ROOMS[room]
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        match = INCLUDE.match(line)
        if match and rooms is not None:
            other = room_of_file(match.group(1))
            if other != room and other not in rooms:
                problems.append(
                    f"{path}:{number}: room {room} includes "
                    f"mesh/{match.group(1)} of room {other}; {room} may "
                    f"include {may_include(room)}"
                )
        if libraries is None:
            continue
        for library, pattern in LIBRARY_HEADERS.items():
            if library not in libraries and pattern.match(line):
                problems.append(
                    f"{path}:{number}: room {room} includes a header of "
                    f"{library}, which it may not use"
                )
    return problems


def check_friends(path, text):
    """Friends of ours that name what another file defines."""
    lines = text.split("\n")
    defined = set()
    for line in lines:
        match = TYPE.match(line)
        if match and not line.rstrip().endswith(";"):
            defined.add(match.group(1))
    problems = []
    for number, line in enumerate(lines, 1):
        code = line.split("//")[0]
        if not re.match(r"\s*friend\b", code) or path == ACCESS:
            continue
        match = FRIEND.match(code)
        name = match.group(1).split("::")[-1] if match else None
        if name is None and "operator" in code:
            continue  # Of this class, defined in place.
        if name not in defined:
            problems.append(
                f"{path}:{number}: a friend that this file does not define: "
                f"{line.strip()}"
            )
    return problems


def check_names(texts):
    """Names of ONE_THING that several types have. `texts`: the text of each
    file, by path."""
    places = {name: [] for name in ONE_THING}
    for path, text in sorted(texts.items()):
        for number, line in enumerate(text.split("\n"), 1):
            match = TYPE.match(line)
            if match is None or match.group(1) not in places:
                continue
            if line.rstrip().endswith(";"):
                continue  # A declaration.
            places[match.group(1)].append(f"{path}:{number}")
    return [
        f"{name} is to mean one thing, and is defined in " + ", ".join(where)
        for name, where in places.items()
        if len(where) > 1
    ]
