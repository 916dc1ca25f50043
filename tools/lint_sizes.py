"""How long files and functions may be, and how much of a room is tests."""

import re

# (lines of a file, lines of a function): of sources of mesh/, and of tests and
# helpers of tests.
SOURCE_LIMITS = (700, 80)
TEST_LIMITS = (1000, 120)

# Rooms that had too few tests once: lines of *_test.cc beside the code over
# the room's other lines.
TESTED_ROOMS = ("channel", "service")
LEAST_TESTED = 0.5

# What opens a block that is no function.
NO_FUNCTION = re.compile(
    r"^\s*(namespace|class|struct|union|enum|extern|if|else|for|while|do|switch"
    r"|case|default|return|try|catch|#|\}|//|typedef|using)\b|^\s*[}#{]"
)


def is_test(path):
    return (
        re.search(r"_(test|fuzz)(_\w+)?\.(cc|h)$|/testing/|/fuzz/", path)
        is not None
        or path.startswith("tests/")
    )


def is_table(line):
    """Whether the first line of a file or function says that it is a table."""
    return re.search(r"//.*\b[Tt]able\b", line) is not None


def functions(lines):
    """Yields (first, last) line, from 0, of each function. Relies on the
    layout of clang-format: the brace that ends a block stands as far in as the
    statement that opens it."""
    statement = None  # The first line of the one that goes on here.
    open_until = -1
    for number, line in enumerate(lines):
        code = line.split("//")[0].rstrip()
        if not code.strip():
            continue
        if statement is None:
            statement = number
        if number > open_until and code.endswith("{"):
            first = lines[statement]
            text = " ".join(l.strip() for l in lines[statement : number + 1])
            if not NO_FUNCTION.match(first) and "(" in text and "=" not in (
                text.split("(")[0]
            ):
                indent = len(first) - len(first.lstrip())
                end = re.compile(rf"^ {{{indent}}}\}}")
                for last in range(number + 1, len(lines)):
                    if end.match(lines[last]):
                        yield statement, last
                        open_until = last
                        break
        if code.endswith(("{", "}", ";", ":", ">")) or code.startswith("#"):
            statement = None


def check_file(path, text):
    """The problems of one file."""
    lines = text.rstrip("\n").split("\n")
    if not path.startswith("mesh/") and not is_test(path):
        return []
    file_limit, function_limit = TEST_LIMITS if is_test(path) else SOURCE_LIMITS
    problems = []
    if len(lines) > file_limit and not is_table(lines[0]):
        problems.append(f"{path}:1: {len(lines)} lines; {file_limit} at most")
    for first, last in functions(lines):
        length = last - first + 1
        if length > function_limit and not is_table(lines[first]):
            problems.append(
                f"{path}:{first + 1}: a function of {length} lines; "
                f"{function_limit} at most"
            )
    return problems


def shares_of_tests(texts):
    """{room: test lines over other lines} of TESTED_ROOMS. `texts`: the text
    of each file, by path."""
    shares = {}
    for room in TESTED_ROOMS:
        test = other = 0
        for path, text in texts.items():
            if not path.startswith(f"mesh/{room}/"):
                continue
            if path.endswith("_test.cc"):
                test += text.count("\n")
            elif not is_test(path):
                other += text.count("\n")
        shares[room] = test / other if other else 0.0
    return shares


def check_shares(shares):
    return [
        f"mesh/{room}: {share:.2f} lines of tests for each other line; more "
        f"than {LEAST_TESTED} are wanted"
        for room, share in sorted(shares.items())
        if share <= LEAST_TESTED
    ]
