"""Counts what the front door of mesh shows: the headers of mesh/ that mesh.h and
server.h reach, and their types and public fields.

usage: front_door.py [--list] [ROOT]

ROOT is where mesh/ is: the tree, or a folder of installed headers. --list names
each. Exits with 1 when there are more than MOST, or when a header is of a room
that callers have nothing to do with. Who adds to the front door on purpose
raises MOST, in the same commit.
"""

import os
import re
import sys

DOORS = ["mesh/mesh.h", "mesh/server/server.h"]
# Headers, types, public fields.
MOST = (13, 51, 215)
# Rooms whose headers callers may see. "" is mesh/ itself.
ROOMS = ["", "base", "cluster", "server", "telemetry"]

INCLUDE = re.compile(r'^\s*#\s*include "(mesh/[^"]+)"', re.MULTILINE)
# Generated, and the schema's business.
GENERATED = re.compile(r"\.pb\.h$")
TYPE = re.compile(
    r"^(?:template\s*<>\s*)?(enum(?:\s+class|\s+struct)?|class|struct|union)\b"
    r"(?:\s*(?:alignas\([^)]*\)|\[\[[^\]]*\]\]|[A-Z][A-Z_]+(?:\([^)]*\))?(?=\s+\w)))*"
    r"\s*(\w*)"
)
NO_FIELD = re.compile(
    r"^(using|typedef|friend|static|static_assert|template|class|struct|union|"
    r"enum|extern|public|private|protected|operator|virtual|explicit|~)\b|^~"
)


def reached(root):
    """Paths of the headers of mesh/ that DOORS reach, in order of discovery."""
    found = []
    todo = list(DOORS)
    while todo:
        path = todo.pop(0)
        if path in found or GENERATED.search(path):
            continue
        found.append(path)
        with open(os.path.join(root, path), encoding="utf-8") as text:
            todo += INCLUDE.findall(text.read())
    return found


def strip(text):
    """Code without comments, literals and preprocessor lines."""
    text = re.sub(
        r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
        lambda match: "" if match.group(0)[0] == "/" else "0",
        text,
        flags=re.DOTALL,
    )
    return re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.MULTILINE)


def without_arguments(text):
    """Text without template arguments and what macros take."""
    before = None
    while before != text:
        before = text
        text = re.sub(r"<[^<>]*>", "", text)
    return re.sub(r"\b[A-Z][A-Z_]+\([^()]*\)", "", text)


def fields_of(statement):
    """The names of the data members that a member declaration declares."""
    statement = statement.strip()
    if not statement or NO_FIELD.match(statement):
        return []
    plain = without_arguments(statement)
    names = []
    # Initializers end at a comma of the list of declarators: braces are empty
    # by now, and parentheses only stand in initializers.
    head = re.split(r"[={]", plain)[0]
    if "(" in head or re.search(r"\boperator\b", head):
        return []
    for declarator in re.sub(r"\([^()]*\)", "", plain).split(","):
        match = re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?::\s*\d+\s*)?(?:[={].*)?$",
                          declarator.strip(), flags=re.DOTALL)
        if match:
            names.append(match.group(1))
    return names


def skip_braces(code, at):
    """Where the brace that is open at `at` has been closed."""
    depth = 0
    while at < len(code):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        at += 1
        if depth == 0:
            break
    return at


def scan(text):
    """(types, fields) that a header shows: public ones, with their scope."""
    code = strip(text)
    types, fields = [], []
    scopes = []  # (name, is a type, shown)
    statement = ""
    at = 0

    def name_of(name):
        return "::".join([scope[0] for scope in scopes if scope[0]] + [name])

    def shown():
        return all(scope[2] for scope in scopes)

    while at < len(code):
        char = code[at]
        if char == ":" and scopes and scopes[-1][1]:
            label = re.fullmatch(r"\s*(public|private|protected)\s*", statement)
            if label:
                scopes[-1] = (scopes[-1][0], True, label.group(1) == "public")
                statement = ""
                at += 1
                continue
        if char == "{":
            head = statement.strip()
            # Of a template: what stands after its parameters.
            bare = re.sub(r"^template\s*<[^{}]*?>\s*(?=class|struct)", "", head)
            kind = TYPE.match(bare)
            if statement.count("(") > statement.count(")"):
                at = skip_braces(code, at)  # A default argument.
                statement += "{}"
            elif re.match(r"(inline\s+)?namespace\b|extern\b", head) and "(" not in head:
                scopes.append(("", False, True))
                statement = ""
                at += 1
            elif kind and "(" not in without_arguments(bare[kind.end():]):
                if shown() and kind.group(2):
                    types.append(name_of(kind.group(2)))
                if kind.group(1).startswith("enum"):
                    at = skip_braces(code, at)
                    statement = "?type "
                else:
                    public = kind.group(1) != "class"
                    scopes.append((kind.group(2), True, public))
                    statement = ""
                    at += 1
            else:
                at = skip_braces(code, at)
                rest = code[at:].lstrip()
                if "(" in without_arguments(re.split(r"[=]", head)[0]) and (
                    not rest.startswith((";", ","))
                ):
                    statement = ""  # The body of a function.
                else:
                    statement += "{}"
        elif char == "}":
            closed = scopes.pop() if scopes else ("", False, True)
            statement = "?type " if closed[1] else ""
            at += 1
        elif char == ";":
            if scopes and scopes[-1][1] and shown() and statement.strip() != "?type":
                fields += [name_of(name) for name in fields_of(statement)]
            statement = ""
            at += 1
        else:
            statement += char
            at += 1
    return types, fields


def count(root):
    """[(path, types, fields)] of all that is reached."""
    result = []
    for path in reached(root):
        with open(os.path.join(root, path), encoding="utf-8") as text:
            result.append((path, *scan(text.read())))
    return result


def problems_of(counted, most=MOST):
    """What is wrong, and what there is."""
    totals = (
        len(counted),
        sum(len(types) for _, types, _ in counted),
        sum(len(fields) for _, _, fields in counted),
    )
    problems = []
    for what, there, limit in zip(("headers", "types", "fields"), totals, most):
        if there > limit:
            problems.append(
                f"the front door reaches {there} {what}, more than {limit}"
            )
    for path, _, _ in counted:
        room = path.split("/")[1] if path.count("/") > 1 else ""
        if room not in ROOMS:
            problems.append(f"the front door reaches {path}: room {room}")
    return totals, problems


def main():
    arguments = [a for a in sys.argv[1:] if a != "--list"]
    root = arguments[0] if arguments else "."
    counted = count(root)
    totals, problems = problems_of(counted)
    for path, types, fields in counted:
        print(f"{path}: {len(types)} types, {len(fields)} fields")
        if "--list" in sys.argv:
            for name in types:
                print(f"    {name}")
            for name in fields:
                print(f"        {name}")
    print(
        f"front door: {totals[0]} headers, {totals[1]} types, "
        f"{totals[2]} public fields"
    )
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
