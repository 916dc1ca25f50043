"""What `./run lint` checks: format, banned constructs, prose, sizes, room
rules, and clang-tidy with clang's analysis of locks.

usage: lint.py [--changed] [format|text|prose|sizes|rooms|sources|tidy ...]

--changed looks only at files that differ from main. Names choose checks; all
by default. Exits with 1 when anything is wrong.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import cmake_sources
import lint_prose
import lint_rooms
import lint_sizes
from lint_rooms import ROOMS, STRANGERS
from lint_rooms import room_of_label as room_of

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

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


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as text:
        return text.read()


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
    flags += ["-Wthread-safety"]  # As a check of clang-tidy: an error.

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
            problems.append(f"{name}: room {room} is not in tools/lint_rooms.py")
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

    # Bazel does not guard the system's headers, nor an include of a room that
    # is reached anyway.
    texts = {
        path: read(path)
        for path in sources(every, ".h", ".cc")
        if path.startswith("mesh/")
    }
    for path, text in texts.items():
        if not is_test(path):
            problems += lint_rooms.check_friends(path, text)
            problems += lint_rooms.check_includes(path, text)
    problems += lint_rooms.check_names(
        {path: text for path, text in texts.items() if not is_test(path)}
    )
    return problems


def check_sizes(every):
    texts = {path: read(path) for path in sources(every, ".h", ".cc")}
    problems = []
    for path, text in texts.items():
        problems += lint_sizes.check_file(path, text)
    # Also where only some files are looked at, the rooms are looked at whole.
    rooms = {path: read(path) for path in sources(files(False), ".h", ".cc")}
    shares = lint_sizes.shares_of_tests(rooms)
    for room, share in sorted(shares.items()):
        print(f"   mesh/{room}: {share:.2f} lines of tests for each other line")
    return problems + lint_sizes.check_shares(shares)


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


def check_prose(every):
    problems = []
    for path in sources(every, ".md", ".h", ".cc", ".proto"):
        problems += lint_prose.check_file(path, read(path))
    return problems


def check_sources(every):
    del every
    problems = cmake_sources.problems()
    return problems + (["./run sources"] if problems else [])


CHECKS = {
    "format": ("clang-format", check_format),
    "text": ("banned constructs, include guards", check_text),
    "prose": ("sentences, comments, words", check_prose),
    "sizes": ("lengths of files and functions, tests a room", check_sizes),
    "rooms": ("room rules", check_rooms),
    "sources": ("CMake\'s lists of files", check_sources),
    "tidy": ("clang-tidy, locks", check_tidy),
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
