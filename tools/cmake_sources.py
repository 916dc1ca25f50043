"""Writes cmake/sources.cmake, the CMake build's lists of files.

usage: cmake_sources.py [--check]

The BUILD files say which files make the library, the unit tests and the
examples; this puts the same into a form that CMake reads. --check writes
nothing, prints how the file differs, and exits with 1 if it does.
"""

import difflib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = "cmake/sources.cmake"
LIBRARY = "//mesh:mesh"
QUERY = (
    'kind("cc_library|cc_test|cc_binary|mesh_package",'
    " //mesh/... + //examples/... + //tests/support/... + //packaging/...)"
)
GENERATED = re.compile(r"(\.grpc)?\.pb\.(cc|h)$")


def rules():
    """Every rule of the query: name -> (kind, {attribute: [values]})."""
    result = subprocess.run(
        ["bazel", "query", "--noshow_progress", "--output=xml", QUERY],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )
    if result.returncode != 0:
        sys.exit("cmake_sources: bazel query: " + result.stderr)
    found = {}
    for rule in xml.etree.ElementTree.fromstring(result.stdout).iter("rule"):
        found[rule.get("name")] = (rule.get("class"), {
            values.get("name"): [value.get("value") for value in values]
            for values in rule.findall("list")
        })
    return found


def path_of(label):
    package, name = label[len("//"):].split(":")
    return f"{package}/{name}"


def reached(found, name, seen):
    if name in found and name not in seen:
        seen.add(name)
        for dep in found[name][1].get("deps", []):
            reached(found, dep, seen)
    return seen


def files_of(found, names):
    """What `names` compile: (sources, protos, protos with services)."""
    sources, protos, services = set(), set(), set()
    for name in names:
        for label in found[name][1].get("srcs", []):
            path = path_of(label)
            made = GENERATED.search(path)
            if made:
                protos.add(GENERATED.sub(".proto", path))
                if made.group(1):
                    services.add(GENERATED.sub(".proto", path))
            elif path.endswith(".cc"):
                sources.add(path)
    return sources, protos - services, services


def public_headers(roots):
    """The headers `roots` and all of mesh/ that they include."""
    headers, waiting = set(), list(roots)
    while waiting:
        header = waiting.pop()
        if header in headers:
            continue
        headers.add(header)
        # A generated header includes those of what its .proto imports.
        made = GENERATED.search(header)
        path = GENERATED.sub(".proto", header)
        with open(os.path.join(ROOT, path), encoding="utf-8") as text:
            names = re.findall(
                r'^(?:#include|import) "(mesh/[^"]*)"', text.read(), re.M
            )
        waiting += [
            re.sub(r"\.proto$", ".pb.h", name) if made else name
            for name in names
        ]
    return headers


def text():
    found = rules()
    lines = [
        "# Made by `./run sources` from the BUILD files. Do not edit.",
    ]

    def put(name, values):
        lines.extend(["", f"set({name}"])
        lines.extend(f"  {value}" for value in sorted(values))
        lines[-1] += ")"

    library = reached(found, LIBRARY, set())
    sources, protos, services = files_of(found, library)
    assert not services, services
    put("MESH_SOURCES", sources)
    put("MESH_PROTOS", protos)
    package = found["//packaging:mesh.tar"][1]
    put("MESH_PUBLIC_HEADERS", public_headers(package["public_headers"]))

    def put_program(name, own):
        """What a program compiles beside the library."""
        sources, protos, services = files_of(found, own)
        put(f"MESH_{name}_SOURCES", sources)
        if protos or services:
            put(f"MESH_{name}_PROTOS", protos | services)

    def programs(kind, prefix, variable):
        """All rules of `kind` below `prefix`, and what each compiles itself."""
        # The demo starts processes by their place in Bazel's tree; what has a
        # fuzzer is run over its corpus by arguments.
        rules = [
            rule for rule, (is_a, _) in found.items()
            if is_a == kind and rule.startswith(prefix)
            and not rule.startswith("//examples/shop") and "/fuzz:" not in rule
        ]
        names = [rule.split(":")[1] for rule in rules]
        chosen = {}
        for rule, name in zip(rules, names):
            if names.count(name) > 1:  # Its room goes before it.
                name = rule.split(":")[0].split("/")[-1] + "_" + name
            chosen[name] = reached(found, rule, set()) - library
        put(variable, chosen)
        for name, own in sorted(chosen.items()):
            put_program(name, own)
            defines = {
                define for rule in own
                for define in found[rule][1].get("defines", [])
            }
            if defines:
                put(f"MESH_{name}_DEFINITIONS", defines)

    # The programs that are installed.
    for name in ("certs", "check"):
        program = reached(found, f"//mesh/{name}:mesh-{name}", set())
        put_program(name.upper(), program - library)
    programs("cc_test", "//mesh/", "MESH_TEST_PROGRAMS")
    programs("cc_binary", "//examples/", "MESH_EXAMPLE_PROGRAMS")
    return "\n".join(lines) + "\n"


def problems():
    """How cmake/sources.cmake differs from what it should be, as lines."""
    try:
        with open(os.path.join(ROOT, OUT), encoding="utf-8") as file:
            there = file.read()
    except FileNotFoundError:
        there = ""
    differ = difflib.unified_diff(
        there.split("\n"), text().split("\n"), OUT, "the BUILD files",
        n=0, lineterm="",
    )
    return list(differ)


def main():
    if sys.argv[1:] == ["--check"]:
        differ = problems()
        for line in differ:
            print(line)
        if differ:
            print(f"{OUT} is out of date: ./run sources")
        sys.exit(1 if differ else 0)
    if sys.argv[1:]:
        sys.exit(__doc__)
    made = text()
    with open(os.path.join(ROOT, OUT), "w", encoding="utf-8") as file:
        file.write(made)


if __name__ == "__main__":
    main()
