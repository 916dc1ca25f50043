"""What `./run lint` checks: format, clang-tidy, room rules, banned constructs.

usage: lint.py [--changed] [format|tidy|rooms|text ...]

--changed looks only at files that differ from main. Names choose checks; all
by default. Exits with 1 when anything is wrong.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# DESIGN: which rooms of mesh/ a room may use, and which libraries beside
# Abseil. "log", "fallback" and "front" are the targets of mesh/ itself.
BELOW_CALL = ["base", "cluster", "config"]
ROOMS = {
    # room: (rooms, libraries)
    "log": ([], []),
    "fallback": ([], ["com_github_grpc_grpc"]),
    "base": ([], []),
    "v1": ([], ["com_google_protobuf"]),
    "cluster": (["base"], []),
    "config": (
        ["base", "cluster", "v1"],
        ["com_google_protobuf", "com_github_jbeder_yaml_cpp"],
    ),
    "discovery": (BELOW_CALL + ["log"], ["com_github_cares_cares"]),
    "balancing": (BELOW_CALL, []),
    "resilience": (BELOW_CALL, []),
    "telemetry": (["base", "cluster", "config"], []),
    "security": (
        ["base", "config"],
        ["com_github_grpc_grpc", "openssl"],
    ),
    "call": (BELOW_CALL + ["balancing", "resilience", "telemetry"], []),
    "simulation": (
        BELOW_CALL + ["balancing", "resilience", "telemetry", "call"],
        [],
    ),
    "channel": (
        BELOW_CALL
        + ["balancing", "call", "discovery", "fallback", "log", "resilience"]
        + ["server", "telemetry"],
        ["com_github_grpc_grpc", "com_google_protobuf"],
    ),
    "server": (["base", "config"], ["com_github_grpc_grpc"]),
    "testing": (None, None),  # Anything.
    "front": (None, None),
}

# These meet in call and channel, and nowhere below.
STRANGERS = ["discovery", "balancing", "resilience", "security", "telemetry"]

# Headers of a library, by how they are included.
LIBRARY_HEADERS = {
    "com_github_grpc_grpc": re.compile(r'#include ["<]grpc(pp)?/'),
    "com_github_cares_cares": re.compile(r'#include ["<]ares'),
    "openssl": re.compile(r'#include ["<]openssl/'),
    "com_google_protobuf": re.compile(r'#include ["<]google/protobuf/'),
    "com_github_jbeder_yaml_cpp": re.compile(r'#include ["<]yaml-cpp/'),
}

# What code of mesh/ outside mesh/base does not say: (pattern, why, in tests).
BANNED = [
    (r"\babsl::Now\(", "time comes from base::Clock", True),
    (r"\bstd::chrono::system_clock::now\(", "time comes from base::Clock", False),
    (r"\b(absl::SleepFor|sleep_for|sleep_until|usleep|nanosleep)\b|\bsleep\(",
     "nothing sleeps", False),
    (r"\b(s?rand|rand_r)\(|\bstd::random_device\b|\bstd::mt19937",
     "randomness comes from base::Random", True),
    (r"\bstd::(recursive_|shared_|timed_)?mutex\b|\bstd::condition_variable",
     "locks are base::Mutex", False),
    (r"\babsl::(Mutex|MutexLock|CondVar)\b", "locks are base::Mutex", False),
]
# Tells the sanitizer of locks, so it can't use ours.
UNBANNED = ["mesh/testing/tsan_seam.cc"]

OPEN_END = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def run(command, **kwargs):
    return subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, check=False, **kwargs
    )


def files(changed):
    """Tracked files, by path from the root; only what differs from main."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard"])
    if listed.returncode != 0:
        # Not a clone (an unpacked archive): everything that is there.
        every = [
            os.path.relpath(os.path.join(folder, name), ROOT)
            for folder, _, names in os.walk(ROOT)
            for name in names
            if "/bazel-" not in folder and "/.git" not in folder
        ]
    else:
        every = listed.stdout.split("\n")
    every = sorted(f for f in every if f and os.path.isfile(os.path.join(ROOT, f)))
    if changed:
        differ = run(["git", "diff", "--name-only", "main..."]).stdout.split("\n")
        differ += run(["git", "diff", "--name-only", "HEAD"]).stdout.split("\n")
        differ += run(
            ["git", "ls-files", "-o", "--exclude-standard"]
        ).stdout.split("\n")
        every = [f for f in every if f in set(differ)]
    return every


def sources(every, *extensions):
    return [f for f in every if f.endswith(extensions)]


def is_test(path):
    return re.search(r"_test(_\w+)?\.(cc|h)$|/testing/|/fuzz/", path) is not None


def check_format(every):
    code = sources(every, ".cc", ".h")
    if not code:
        return []
    result = run(["clang-format-14", "--dry-run", "--Werror"] + code)
    lines = [l for l in result.stderr.split("\n") if ": error:" in l]
    return lines or ([result.stderr] if result.returncode else [])


def check_tidy(every):
    # What is built outside the tree has its generated headers elsewhere.
    outside = ("examples/cmake/", "tests/install/")
    code = [f for f in sources(every, ".cc") if not f.startswith(outside)]
    if not code:
        return []
    generated = run(
        ["bazel", "query", "--noshow_progress",
         'filter("_gen$", kind(genrule, //...))']
    ).stdout.split()
    built = run(["bazel", "build", "--noshow_progress"] + generated)
    if built.returncode != 0:
        return ["generated headers do not build: " + built.stderr]
    genfiles = run(["bazel", "info", "bazel-bin"]).stdout.strip()
    flags = ["-std=c++17", "-I.", "-isystem", genfiles, "-Wno-everything"]

    def tidy(path):
        rtti = ["-fno-rtti"] if "no_rtti" in path else []
        return path, run(
            ["clang-tidy-14", "--quiet", path, "--"] + flags + rtti
        )

    problems = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (path, result) in enumerate(pool.map(tidy, code), 1):
            if sys.stdout.isatty():
                print(f"\r  {done}/{len(code)} {path[-60:]:60}", end="", flush=True)
            elif done % 20 == 0:
                print(f"  {done}/{len(code)}", flush=True)
            if result.returncode != 0:
                problems.append((result.stdout or result.stderr).strip())
    if sys.stdout.isatty():
        print()
    return problems


def room_of(label):
    """The room of //mesh that a label is in, or None."""
    match = re.match(r"//mesh(?:/(\w+)[^:]*)?:(\S+)$", label)
    if match is None:
        return None
    if match.group(1) is None:
        name = match.group(2)
        return name if name in ("log", "fallback") else "front"
    return match.group(1)


def check_rooms(every):
    result = run(
        ["bazel", "query", "--noshow_progress", "--output=xml",
         'kind("cc_library|cc_binary", //mesh/...)']
    )
    if result.returncode != 0:
        return ["bazel query: " + result.stderr]
    uses = {}
    testonly = set()
    for rule in xml.etree.ElementTree.fromstring(result.stdout).iter("rule"):
        name = rule.get("name")
        uses[name] = [
            dep.get("value")
            for deps in rule.findall("list[@name='deps']")
            for dep in deps
        ]
        if rule.find("boolean[@name='testonly'][@value='true']") is not None:
            testonly.add(name)

    problems = []
    for name, deps in sorted(uses.items()):
        room = room_of(name)
        if name in testonly or "/fuzz:" in name:
            continue
        if room not in ROOMS:
            problems.append(f"{name}: room {room} is not in tools/lint.py")
            continue
        rooms, libraries = ROOMS[room]
        for dep in deps:
            if rooms is None:
                continue
            external = re.match(r"@(\w+)//", dep)
            if external and external.group(1) != "com_google_absl":
                if external.group(1) not in libraries:
                    problems.append(f"{name} may not use {dep}")
            elif not external and room_of(dep) not in rooms + [room]:
                problems.append(f"{name} may not use {dep}")

    def reached(name, seen):
        for dep in uses.get(name, []):
            if dep not in seen:
                seen.add(dep)
                reached(dep, seen)
        return seen

    for name in uses:
        if room_of(name) not in STRANGERS or name in testonly:
            continue
        for other in reached(name, set()):
            if room_of(other) in STRANGERS and room_of(other) != room_of(name):
                problems.append(f"somepath({name}, {other}) is not empty")

    # Bazel does not guard the system's headers.
    for path in sources(every, ".h", ".cc"):
        match = re.match(r"mesh/(\w+)/", path)
        if match is None or is_test(path) or ROOMS.get(match.group(1)) is None:
            continue
        libraries = ROOMS[match.group(1)][1]
        if libraries is None:
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                for library, pattern in LIBRARY_HEADERS.items():
                    if library not in libraries and pattern.match(line):
                        problems.append(f"{path}:{number}: {library} in this room")
    return problems


def check_text(every):
    problems = []
    for path in sources(every, ".h", ".cc"):
        with open(os.path.join(ROOT, path), encoding="utf-8") as text:
            lines = text.read().split("\n")
        if path.endswith(".h"):
            guard = re.sub(r"[^A-Z0-9]", "_", path.upper()) + "_"
            good = {f"#ifndef {guard}", f"#ifndef MESH_{guard}"}
            if not good & set(lines):
                problems.append(f"{path}:1: the include guard is not {guard}")
        in_mesh = path.startswith("mesh/") and not path.startswith("mesh/base/")
        for number, line in enumerate(lines, 1):
            if OPEN_END.search(line):
                problems.append(f"{path}:{number}: an open end: {line.strip()}")
            if not in_mesh or path in UNBANNED:
                continue
            code = line.split("//")[0]
            for pattern, why, in_tests in BANNED:
                if is_test(path) and not in_tests:
                    continue
                if re.search(pattern, code):
                    problems.append(f"{path}:{number}: {why}: {line.strip()}")
    return problems


CHECKS = {
    "format": ("clang-format", check_format),
    "text": ("banned constructs, include guards", check_text),
    "rooms": ("room rules", check_rooms),
    "tidy": ("clang-tidy", check_tidy),
}


def main():
    arguments = sys.argv[1:]
    changed = "--changed" in arguments
    names = [a for a in arguments if a != "--changed"]
    for name in names:
        if name not in CHECKS:
            sys.exit(f"lint: no check \"{name}\"; there are: {', '.join(CHECKS)}")
    every = files(changed)
    failed = 0
    for name in names or CHECKS:
        title, check = CHECKS[name]
        print(f"== {title}", flush=True)
        problems = check(every)
        for problem in problems:
            print(problem)
        failed += len(problems)
        print(f"   {'clean' if not problems else f'{len(problems)} problems'}",
              flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
