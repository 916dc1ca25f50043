"""Whether docs and comments can be read once: how long sentences are, how
comments begin, and one word for one thing."""

import bisect
import re

MOST_WORDS = 30

# What a comment does not begin with: words that hide the subject.
BAD_BEGINNINGS = ("Of", "That", "Ours")

# (what is not to be written, what to write, whether it was the name of a
# setting). Spaces, hyphens and the ends of lines within are all the same.
WORDS = (
    (r"black[\s/_-]*hole", "silence", True),
    (r"silent[\s/_-]*peer", "silent endpoint", False),
    (r"minimum_hosts", "nothing: the setting is gone", True),
    (
        r"\b(?:\d[\d.,]*|one|two|ten|answers|attempts|bytes|calls|dials|hedges"
        r"|messages|picks|probes|queries|requests|retries)[\s/]+an?[\s/]+"
        r"(?:second|minute)\b(?![\s/]+(?:time|connection|one|later)\b)",
        "per second, per minute",
        False,
    ),
    (
        r"\b(?:\d[\d.,]*|one|two|attempts|bytes|calls|connections|dials|probes)"
        r"[\s/]+an[\s/]+endpoint\b",
        "per endpoint",
        False,
    ),
)

# They tell what was, so they name it as it was called then.
HISTORY = re.compile(r"(^|/)CHANGELOG\.md$|^docs/decisions/")
# The reader of a configuration knows the old names of settings, and says what
# to write instead of each. One page lists them.
KNOWS_OLD_SETTINGS = re.compile(r"^mesh/config/|^docs/migrating\.md$")
# So does a line that quotes what it says.
SAYS_SO = "is an old name"

# Words that end in a full stop which does not end a sentence.
ABBREVIATIONS = ("e.g.", "i.e.", "vs.", "cf.", "approx.", "resp.", "no.")

SENTENCE_END = re.compile(r"[.!?][\"')\]*_`]*$")
LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
LINK_TARGET = re.compile(r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*\)")
# Headings, tables, definitions of links, HTML, rules.
NO_SENTENCE = re.compile(
    r"#{1,6}\s|\||\[[^\]]+\]:\s|<[a-z/][^>]*>$|[-=*_]{3,}$"
)

# What stands in code, in the order in which it is looked for.
TOKEN = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*.*?\*/)
    | R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"
    | "(?:[^"\\\n]|\\.)*"
    | '(?:[^'\\\n]|\\.)+'
    """,
    re.VERBOSE | re.DOTALL,
)
# 10'000 is no character.
DIGIT_SEPARATOR = re.compile(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")


def sentences(lines):
    """Yields (number of its first line, its words) of each sentence of one
    paragraph. `lines`: (number, text)."""
    text = "\n".join(line for _, line in lines)
    # What stands in backticks is one word.
    plain = re.sub(
        r"`[^`]+`",
        lambda match: "`" + "x" * (len(match.group(0)) - 2) + "`",
        text,
    )
    # Links have a text and a target, and only the text is read.
    plain = LINK_TARGET.sub(lambda match: " " * len(match.group(0)), plain)
    starts = [0] + [end.end() for end in re.finditer("\n", text)]
    tokens = list(re.finditer(r"\S+", plain))
    words = []
    first = None
    for index, token in enumerate(tokens):
        word = token.group(0)
        if re.search(r"\w", word):
            if first is None:
                first = bisect.bisect_right(starts, token.start()) - 1
            words.append(text[token.start() : token.end()])
        after = tokens[index + 1].group(0) if index + 1 < len(tokens) else "X"
        if ends_sentence(word, after) and words:
            yield lines[first][0], words
            words, first = [], None
    if words:
        yield lines[first][0], words


def ends_sentence(word, after):
    if not SENTENCE_END.search(word):
        return False
    bare = word.lstrip("([\"'*_")
    if bare.lower() in ABBREVIATIONS or re.fullmatch(r"[A-Z]\.", bare):
        return False
    if bare.startswith("..") or bare.endswith("...") or bare == "etc.":
        return after.lstrip("([\"'*_`")[:1].isupper()
    return True


def markdown_paragraphs(text):
    """Yields each paragraph and list item as a list of (number, text)."""
    paragraph = []
    fence = None
    in_comment = False
    in_list = False
    blank = True
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        mark = re.match(r"(`{3,}|~{3,})", stripped)
        skipped = False
        if fence is not None:
            skipped = True
            if mark and stripped == mark.group(1) and mark.group(1) >= fence:
                fence = None
        elif mark:
            skipped = True
            fence = mark.group(1)
        elif in_comment or stripped.startswith("<!--"):
            skipped = True
            in_comment = "-->" not in stripped
        elif not stripped:
            skipped = True
        elif NO_SENTENCE.match(stripped):
            skipped = True
        elif blank and not in_list and re.match(r" {4}|\t", line):
            continue  # Code, which goes on after a blank line, too.
        if skipped:
            if paragraph:
                yield paragraph
            paragraph = []
            blank = not stripped or fence is None
            continue
        item = LIST_ITEM.match(line)
        if item or (blank and not line.startswith(" ")):
            in_list = item is not None
        if item and paragraph:
            yield paragraph
            paragraph = []
        content = line[item.end() :] if item else re.sub(r"^\s*>+", "", line)
        paragraph.append((number, content))
        blank = False
    if paragraph:
        yield paragraph


def comments(text):
    """Yields each comment of C++ or of a .proto as a list of (number, text).
    Comments of whole lines that follow each other are one; so are the comment
    behind some code and what goes on below it, as far in."""
    text = DIGIT_SEPARATOR.sub("_", text)
    starts = [0] + [end.end() for end in re.finditer("\n", text)]
    block = []
    place = None  # (line, column) of the last line of `block`.
    for token in TOKEN.finditer(text):
        line = bisect.bisect_right(starts, token.start()) - 1
        column = token.start() - starts[line]
        if token.group("block"):
            if block:
                yield block
            block = []
            inner = token.group("block")[2:-2].split("\n")
            yield [
                (line + 1 + i, re.sub(r"^\s*\*(?=\s|$)", "", content))
                for i, content in enumerate(inner)
            ]
        if not token.group("line"):
            continue
        alone = not text[starts[line] : token.start()].strip()
        if block and not (alone and place == (line - 1, column)):
            yield block
            block = []
        block.append((line + 1, token.group("line").lstrip("/")))
        place = (line, column)
    if block:
        yield block


def comment_paragraphs(comment):
    """Yields the paragraphs, list items and lines of tables of a comment."""
    paragraph = []
    before = 1
    for number, line in comment:
        content = line.strip()
        indent = len(line) - len(line.lstrip()) if content else 0
        starts_anew = (
            not re.search(r"\w", content)  # Empty, or a rule.
            or LIST_ITEM.match(line)
            or (before <= 2 < indent)  # Set in: a table, an example.
            or indent < before
            or (indent > 2 and re.search(r"\S {2,}\S", content))
        )
        if starts_anew and paragraph:
            yield paragraph
            paragraph = []
        before = indent or 1
        item = LIST_ITEM.match(line)
        if item:
            before = item.end()
        if re.search(r"\w", content):
            paragraph.append((number, line[item.end() :] if item else content))
    if paragraph:
        yield paragraph


def check_sentences(path, paragraphs):
    problems = []
    for paragraph in paragraphs:
        for number, words in sentences(paragraph):
            if len(words) > MOST_WORDS:
                problems.append(
                    f"{path}:{number}: a sentence of {len(words)} words, "
                    f"{MOST_WORDS} at most; say one idea in each: "
                    f"\"{' '.join(words[:6])}...\""
                )
    return problems


def check_beginnings(path, found):
    problems = []
    for comment in found:
        for number, line in comment:
            text = line.strip()
            if not re.search(r"\w", text):
                continue
            first = re.match(r"\w*", text).group(0)
            if first in BAD_BEGINNINGS:
                problems.append(
                    f"{path}:{number}: a comment that begins with "
                    f'"{first}"; name its subject: "{text}"'
                )
            break
    return problems


def check_words(path, text):
    if HISTORY.search(path):
        return []
    problems = []
    lines = text.split("\n")
    for pattern, instead, setting in WORDS:
        if setting and KNOWS_OLD_SETTINGS.match(path):
            continue
        for match in re.finditer(pattern, text, re.IGNORECASE):
            number = text.count("\n", 0, match.start()) + 1
            if setting and SAYS_SO in lines[number - 1]:
                continue
            problems.append(
                f"{path}:{number}: \"{' '.join(match.group(0).split())}\"; "
                f"write {instead}: {lines[number - 1].strip()}"
            )
    return problems


def check_file(path, text):
    """The problems of one file; of one that is no prose, none."""
    if path.endswith(".md"):
        problems = check_sentences(path, markdown_paragraphs(text))
    elif path.endswith((".h", ".cc", ".proto")):
        found = list(comments(text))
        problems = check_beginnings(path, found)
        for comment in found:
            problems += check_sentences(path, comment_paragraphs(comment))
    else:
        return []
    return problems + check_words(path, text)
