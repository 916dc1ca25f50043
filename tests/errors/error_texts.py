"""The texts in C++ sources that a person reads, and the table that lists them.

A text is a string literal with a space in it. Adjacent literals are one. The
table (errors.txt) has a row for each message, with placeholders in angle
brackets where the code puts a value. Between its placeholders a row must
consist of literals of the file under whose name it stands; and each literal of
that file must stand in a row. So neither can change without the other,
whichever function makes the status.
"""

import re

# What a row may have without a literal for it: the full stop that
# mesh/config/problems.cc adds, and what stands between two parts of a message.
FREE = [".", ": ", " ", ", "]

_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"\((?P<raw>.*?)\)"|"(?P<text>(?:[^"\\\n]|\\.)*)"'
    r"|'(?:[^'\\\n]|\\.)+'|(?P<space>\s+)|(?P<word>\w+)|(?P<other>.)",
    re.DOTALL,
)
_FORMAT = re.compile(r"%[0-9.]*[sdgfXzul]+")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "0": "\0"}
# What PEM blocks are called, and how they begin and end.
_PEM = {"PRIVATE KEY", "X509 CRL", "-----BEGIN ", "-----END "}
# What a compiler reads, and not a person.
_NOT_SAID = {"include", "static_assert", "error", "__attribute__", "asm"}


def unescaped(text):
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), text)


def literals(source):
    """The string literals of C++ `source`, adjacent ones joined."""
    result, joined, last_word = [], None, ""
    skipped = 0  # Depth of parentheses inside of what nobody reads.
    for token in _TOKEN.finditer(source):
        text, raw = token.group("text"), token.group("raw")
        if text is not None or raw is not None:
            if last_word == "include" or skipped:
                continue
            value = raw if raw is not None else unescaped(text)
            joined = value if joined is None else joined + value
            continue
        if token.group("space") or token.group(0).startswith(("//", "/*")):
            continue
        if joined is not None:
            result.append(joined)
            joined = None
        if token.group("word"):
            last_word = token.group("word")
        elif token.group("other") == "(":
            if skipped or last_word in _NOT_SAID:
                skipped += 1
        elif token.group("other") == ")":
            skipped = max(0, skipped - 1)
        elif token.group("other") != "#":
            last_word = ""
    if joined is not None:
        result.append(joined)
    return result


def parts(source):
    """What the literals of `source` consist of: between the values that a
    format string has."""
    found = []
    for literal in literals(source):
        found += [part for part in _FORMAT.split(literal) if part]
    return found


def is_said(part):
    """Whether `part` alone is words for a person."""
    if part in _PEM:
        return False
    return re.search(r"[A-Za-z%>)] +\S|\S +[A-Za-z]|[A-Za-z] $|^ [A-Za-z]", part) is not None


class Row:
    def __init__(self, number, code, text):
        self.number, self.code, self.text = number, code, text

    def fragments(self):
        text = self.text.replace("\\n", "\n")
        return [part for part in re.split(r"<[a-z][^<>]*>", text) if part]

    def sentences(self):
        text = re.sub(r"<[a-z][^<>]*>", "word", self.text)
        text = re.sub(r'"[^"]*"', "word", text)
        return [s for s in re.split(r"(?<=[.?])\s+|\\n", text) if s]


def read_table(text):
    """{section: {file: [Row]}} of the table."""
    table, section, file = {}, None, None
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            section = line[3:]
            table[section] = {}
        elif line.startswith("-- "):
            file = line[3:]
            table[section].setdefault(file, [])
        else:
            code = re.match(r"\[([A-Z_]+|any)\] ", line)
            row = Row(number, code and code.group(1), line[code.end():] if code else line)
            table[section][file].append(row)
    return table


def used(fragment, pieces):
    """The pieces that `fragment` may consist of; None if it can't."""
    size = len(fragment)
    ends = [set() for _ in range(size + 1)]  # (piece, begin) that end here.
    reached = {0}
    for begin in range(size):
        if begin not in reached:
            continue
        for piece in pieces:
            if fragment.startswith(piece, begin):
                ends[begin + len(piece)].add((piece, begin))
                reached.add(begin + len(piece))
    if size not in reached:
        return None
    found, look, seen = set(), [size], set()
    while look:
        at = look.pop()
        if at in seen:
            continue
        seen.add(at)
        for piece, begin in ends[at]:
            found.add(piece)
            look.append(begin)
    return found


def differences(sources, table):
    """What is wrong between `sources` ({file: text}) and `table`."""
    wrong, rows = [], {}
    for files in table.values():
        for file, some in files.items():
            rows.setdefault(file, []).extend(some)
    for file in rows:
        if file not in sources:
            wrong.append(f"{file} is in the table but is no source")
    for file, source in sorted(sources.items()):
        pieces = set(parts(source))
        in_rows = set()
        for row in rows.get(file, []):
            for fragment in row.fragments():
                how = used(fragment, pieces | set(FREE))
                if how is None:
                    wrong.append(f'errors.txt:{row.number}: {file} does not say "{fragment}"')
                else:
                    in_rows |= how
        for piece in sorted(pieces - in_rows):
            if is_said(piece):
                wrong.append(f'{file} says "{piece!s}", which is in no row of errors.txt')
    return wrong


# ---- Command lines ----------------------------------------------------------
# Programs say much that is no error. Only what they write to stderr, or return
# as a status, is held against the table.

_MAKERS = re.compile(r"\bfprintf\(stderr,|\bDie\(|\b[A-Z]\w+Error\(")


def said_in_errors(source):
    """What the literals in calls that make errors consist of."""
    found = []
    for call in _MAKERS.finditer(source):
        depth, at = 1, call.end()
        while depth and at < len(source):
            string = re.compile(r'"(?:[^"\\\n]|\\.)*"').match(source, at)
            if string:
                at = string.end()
                continue
            depth += {"(": 1, ")": -1}.get(source[at], 0)
            at += 1
        text = source[call.end() : at]
        if '"\\r' not in text:  # Progress.
            found += parts(text)
    return [part.rstrip("\n") for part in found if part.strip()]


def said_by_shell(source):
    """The same for what the shell script `source` dies of."""
    found = re.findall(r"\$\{\d:\?([^}]*)\}", source)
    source = re.sub(r"\$\([^()]*\)|\$\{[^}]*\}|\$\w+", "\0", source)
    for line in re.findall(r'\bdie "((?:[^"\\]|\\.)*)"', source):
        line = line.replace('\\"', '"')
        found += line.split("\0")
    return [part for part in found if part.strip()]


def command_differences(sources, rows):
    """As differences(), of programs; `rows` is {file: [Row]}."""
    wrong = []
    for file, some in sorted(rows.items()):
        if file not in sources:
            wrong.append(f"{file} is in the table but is no source")
            continue
        shell = not file.endswith(".cc")
        pieces = set(said_by_shell(sources[file]) if shell else said_in_errors(sources[file]))
        in_rows = set()
        for row in some:
            for fragment in row.fragments():
                how = used(fragment, pieces | set(FREE))
                if how is None:
                    wrong.append(f'errors.txt:{row.number}: {file} does not say "{fragment}"')
                else:
                    in_rows |= how
        wrong += [
            f'{file} says "{piece}", which is in no row of errors.txt'
            for piece in sorted(pieces - in_rows)
            if is_said(piece) and file in WHOLE
        ]
    return wrong


# Of these programs each error stands in the table. Benchmarks also die of what
# their own processes do; of those only what comes of arguments stands there.
WHOLE = {"run", "mesh/certs/program.cc", "mesh/check/check.cc", "benchmarks/report.cc",
         "examples/shop/server.cc", "examples/shop/frontend.cc", "examples/shop/demo.cc",
         "examples/shop/bare_backends.cc", "examples/shop/payment_server.cc"}
