"""Holds errors.txt against the sources and against docs/failures.md."""

import os
import unittest

import error_texts

TABLE = "tests/errors/errors.txt"
PAGE = "docs/failures.md"
COMMANDS = "Command lines"

# Sources whose words are no errors.
NO_ERRORS = {
    "mesh/base/prefetch.h": "assembler",
    "mesh/call/trace.cc": "the keys of a trace",
    "mesh/certs/compare.cc": "a report",
    "mesh/certs/program.cc": "a command line: its errors stand with those",
    "mesh/config/schema_gen.cc": "the reference",
    "mesh/grpc/call_hook.h": "why a function is not there",
    "mesh/grpc/failure.cc": "gRPC's words, which are looked for",
    "mesh/simulation/calls.cc": "invariants of the simulator itself",
    "mesh/simulation/digest.cc": "a report",
    "mesh/simulation/invariants.cc": "invariants of the simulator itself",
    "mesh/simulation/player.cc": "how a replay differs",
    "mesh/simulation/result.cc": "a report",
    "mesh/simulation/simulation.cc": "invariants of the simulator itself",
    "mesh/telemetry/prometheus.cc": "what the metrics mean",
    "mesh/version.h": "for whoever compiles",
}


def read(path):
    with open(path, encoding="utf-8") as text:
        return text.read()


def sources():
    """{path: text} of the library, the simulator and mesh-certs."""
    listed = set()
    with open("tests/errors/sources.txt", encoding="utf-8") as listing:
        listed = {line.strip() for line in listing}
    return {
        path: read(path)
        for path in listed
        if path.endswith((".cc", ".h")) and ".pb." not in path and path not in NO_ERRORS
    }


class Table(unittest.TestCase):
    def setUp(self):
        self.table = error_texts.read_table(read(TABLE))

    def test_is_what_the_sources_say(self):
        found = sources()
        self.assertGreater(len(found), 150, "the sources are not there")
        table = {name: files for name, files in self.table.items() if name != COMMANDS}
        wrong = error_texts.differences(found, table)
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_is_what_the_programs_say(self):
        rows = self.table[COMMANDS]
        found = {path: read(path) for path in rows if os.path.exists(path)}
        wrong = error_texts.command_differences(found, rows)
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_has_whole_short_sentences_and_one_kind_of_quotes(self):
        wrong = []
        for files in self.table.values():
            for row in [row for rows in files.values() for row in rows]:
                where = f"{TABLE}:{row.number}: "
                if "`" in row.text or "'<" in row.text or ">'" in row.text:
                    wrong.append(where + "values are in double quotes")
                sentences = row.sentences()
                if len(sentences) > 3:
                    wrong.append(where + "more than three sentences")
                wrong += [
                    f"{where}a sentence of {len(sentence.split())} words"
                    for sentence in sentences
                    if len(sentence.split()) > 30
                ]
                if row.code and row.text[-1] not in ".?>":
                    wrong.append(where + "no full stop")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_of_calls_is_in_the_page(self):
        page = " ".join(read(PAGE).split())
        rows = [
            row
            for files in self.table.values()
            for some in files.values()
            for row in some
            if row.code
        ]
        self.assertGreater(len(rows), 40)
        wrong = [
            f"{PAGE} lacks {TABLE}:{row.number}: {row.text}"
            for row in rows
            if " ".join(row.text.split()) not in page
        ]
        self.assertFalse(wrong, "\n" + "\n".join(wrong))


class Extraction(unittest.TestCase):
    """The rules above can fail."""

    CODE = r"""
        #include "mesh/of no use.h"
        // "a comment"
        static_assert(sizeof(int) == 4, "for the compiler only");
        return Error(absl::StrCat("the file \"", path, "\" "
                                  "is gone: ", why));
        return absl::StrFormat("%d calls in %.1f s", 1, 2.0);
    """

    def table(self, *rows):
        return error_texts.read_table("== A\n-- a.cc\n" + "\n".join(rows))

    def differences(self, *rows):
        return error_texts.differences({"a.cc": self.CODE}, self.table(*rows))

    def test_literals_are_those_that_a_person_reads(self):
        self.assertEqual(
            error_texts.parts(self.CODE),
            ['the file "', '" is gone: ', " calls in ", " s"],
        )

    def test_what_agrees_is_fine(self):
        self.assertEqual(
            self.differences(
                'the file "<path>" is gone: <why>', "<number> calls in <number> s"
            ),
            [],
        )

    def test_a_text_without_a_row_is_found(self):
        wrong = self.differences('the file "<path>" is gone: <why>')
        self.assertEqual(len(wrong), 2)
        self.assertIn("calls in", "".join(wrong))

    def test_a_row_without_a_text_is_found(self):
        wrong = self.differences(
            'the file "<path>" is gone: <why>',
            "<number> calls in <number> s",
            "the file was moved.",
        )
        self.assertEqual(len(wrong), 1)
        self.assertIn("errors.txt:5", wrong[0])

    def test_a_row_that_says_more_than_the_text_is_found(self):
        wrong = self.differences(
            'the file "<path>" is gone: <why> Look elsewhere.',
            "<number> calls in <number> s",
        )
        self.assertEqual(len(wrong), 1)

    def test_errors_of_programs_are_found(self):
        source = 'printf("a page of text"); fprintf(stderr, "no such thing: %s\\n", x);'
        rows = {"run.cc": error_texts.read_table("== A\n-- run.cc\nno such: <name>")["A"]["run.cc"]}
        self.assertEqual(error_texts.said_in_errors(source), ["no such thing: "])
        wrong = error_texts.command_differences({"run.cc": source}, rows)
        self.assertEqual(len(wrong), 1)
        self.assertEqual(
            error_texts.said_by_shell('die "there is no \\"$1\\"; there are $(x | y)."'),
            ['there is no "', '"; there are ', "."],
        )


if __name__ == "__main__":
    unittest.main()
