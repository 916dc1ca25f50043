"""Compiles every source of mesh/ against given headers, to see what fails.

usage: compile_check.py [-DNAME[=VALUE]]... [--reaching PREFIX] [--fast] DIR...

Nothing is made: each file is compiled with -fsyntax-only, and with DIR... before
the system's headers. The protobuf code is generated with $PROTOC (default:
protoc), the compiler is $CXX (default: g++). Prints each file that fails, with
its first error; exits with 1 if there is one.

  --reaching PREFIX  only sources that include a header whose name begins with
                     PREFIX, themselves or through headers of mesh/: with
                     "grpc" those that another gRPC can break
  --fast             precompiles the libraries' headers once for all. A source
                     that forgets one of them then compiles all the same.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEST = re.compile(r"_test(_\w+)?\.cc$|/testing/|/fuzz/")
INCLUDE = re.compile(r'^#include ([<"])([^">]+)[">]', re.M)


def sources():
    """Every .cc file of mesh/ that is neither a test nor for tests."""
    found = []
    for folder, _, names in os.walk(os.path.join(ROOT, "mesh")):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if path.endswith(".cc") and not TEST.search(path):
                found.append(path)
    return sorted(found)


def reached(path, seen):
    """What `path` includes, itself or through headers of this tree: names."""
    if path in seen:
        return set()
    seen.add(path)
    with open(os.path.join(ROOT, path), encoding="utf-8") as text:
        names = {(mark, name) for mark, name in INCLUDE.findall(text.read())}
    for _, name in list(names):
        if os.path.exists(os.path.join(ROOT, name)):
            names |= reached(name, seen)
    return names


def generate(out, folders):
    """The C++ of the .proto files of mesh/, below `out`."""
    command = [os.environ.get("PROTOC", "protoc"), "-I" + ROOT]
    command += [
        "-I" + folder for folder in folders
        if os.path.isfile(f"{folder}/google/protobuf/descriptor.proto")
    ]
    command += ["--cpp_out=" + out]
    command += sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(os.path.join(ROOT, "mesh"))
        for name in names if name.endswith(".proto")
    )
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    if result.returncode != 0:
        sys.exit("compile-check: protoc: " + result.stderr.strip())


def precompile(flags, names, out):
    """Flags that stand for the headers `names`; none if one does not compile."""
    header = os.path.join(out, "all.h")
    with open(header, "w", encoding="utf-8") as text:
        for mark, name in sorted(names):
            end = ">" if mark == "<" else '"'
            text.write(f"#include {mark}{name}{end}\n")
    result = subprocess.run(
        flags + ["-x", "c++-header", header, "-o", header + ".gch"],
        cwd=ROOT, capture_output=True, check=False,
    )
    return ["-include", header] if result.returncode == 0 else []


def first_error(said):
    """The first line of a compiler that is an error."""
    lines = said.strip().split("\n")
    for line in lines:
        if re.search(r"\b(fatal )?error:", line):
            return line
    return lines[0]


def main():
    defines, folders, prefix, fast = ["-DMESH_ANY_GRPC=1"], [], None, False
    arguments = sys.argv[1:]
    while arguments:
        argument = arguments.pop(0)
        if argument.startswith("-D"):
            defines.append(argument)
        elif argument == "--reaching" and arguments:
            prefix = arguments.pop(0)
        elif argument == "--fast":
            fast = True
        elif argument.startswith("-"):
            sys.exit(__doc__)
        else:
            folders.append(os.path.abspath(argument))
            if not os.path.isdir(folders[-1]):
                sys.exit(f"compile-check: no directory {argument}")
    if not folders:
        sys.exit(__doc__)

    chosen = {path: reached(path, set()) for path in sources()}
    if prefix is not None:
        chosen = {
            path: names for path, names in chosen.items()
            if any(name.startswith(prefix) for _, name in names)
        }
    # The longest first, so that the last one is short.
    order = sorted(
        chosen, key=lambda path: -os.path.getsize(os.path.join(ROOT, path))
    )
    out = tempfile.mkdtemp(prefix="mesh-compile-check.")
    try:
        generate(out, folders)
        flags = [os.environ.get("CXX", "g++"), "-std=c++17", "-w"]
        flags += ["-fmax-errors=1", "-fdiagnostics-color=never"]
        flags += defines
        flags += ["-I" + folder for folder in [".", out] + folders]
        if fast:
            names = set().union(*chosen.values())
            flags += precompile(
                flags,
                {(mark, name) for mark, name in names
                 if not name.startswith("mesh/")},
                out,
            )

        def compile_one(path):
            return subprocess.run(
                flags + ["-fsyntax-only", path],
                cwd=ROOT, text=True, capture_output=True, check=False,
            )

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = dict(zip(order, pool.map(compile_one, order)))
    finally:
        shutil.rmtree(out)

    failed = 0
    for path in sorted(results):
        if results[path].returncode != 0:
            failed += 1
            print(f"{path}\n    {first_error(results[path].stderr)}")
    print(f"{len(results) - failed} of {len(results)} sources compile")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
