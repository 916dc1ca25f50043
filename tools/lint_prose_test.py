"""Tests of the rules for prose of `./run lint`."""

import unittest

import lint_prose


def problems(path, text):
    return lint_prose.check_file(path, text)


def words(count, end="."):
    return " ".join(["word"] * count) + end


class SentencesTest(unittest.TestCase):
    def test_31_words_are_too_many_and_30_are_not(self):
        self.assertEqual(problems("a.md", words(30) + "\n"), [])
        found = problems("a.md", "\nShort.\n" + words(31) + "\n")
        self.assertEqual(
            found,
            [
                "a.md:3: a sentence of 31 words, 30 at most; say one idea in "
                'each: "word word word word word word..."'
            ],
        )

    def test_a_sentence_goes_on_over_lines_and_not_over_blank_ones(self):
        half = words(16, "")
        self.assertEqual(len(problems("a.md", f"{half}\n{half}\n")), 1)
        self.assertEqual(problems("a.md", f"{half}\n\n{half}\n"), [])

    def test_the_line_is_the_one_where_the_sentence_begins(self):
        text = "A b c\nd. E\n" + words(31)
        self.assertTrue(problems("a.md", text)[0].startswith("a.md:2: "))

    def test_each_mark_ends_a_sentence_also_within_brackets_and_quotes(self):
        for end in (".", "!", "?", '."', ".)", ".**", "?*"):
            text = words(20, end) + " " + words(20)
            self.assertEqual(problems("a.md", text), [], end)

    def test_abbreviations_numbers_and_names_end_none(self):
        for inner in ("e.g.", "(i.e.", "vs.", "1.5", "a.b.c", "...", "E.", ","):
            text = words(20, "") + f" {inner} " + words(20)
            self.assertEqual(len(problems("a.md", text)), 1, inner)

    def test_three_dots_before_a_capital_end_one(self):
        text = words(20, "...") + " W" + words(20)
        self.assertEqual(problems("a.md", text), [])

    def test_code_in_backticks_is_one_word_also_over_two_lines(self):
        text = words(28, "") + " `a b c. d\ne f` g.\n"
        self.assertEqual(problems("a.md", text), [])
        self.assertIn("31 words", problems("a.md", "word " + text)[0])

    def test_the_target_of_a_link_is_not_read(self):
        text = words(28, "") + " [two words](a/b.md#c)."
        self.assertEqual(problems("a.md", text), [])
        self.assertEqual(len(problems("a.md", "word " + text)), 1)


class MarkdownTest(unittest.TestCase):
    def test_code_tables_and_headings_are_skipped(self):
        long = words(40)
        for text in (
            f"```\n{long}\n\n{long}\n```\n",
            f"- An item:\n\n  ```cpp\n  {long}\n  ```\n",
            f"~~~yaml\n{long}\n~~~\n",
            f"Text:\n\n    {long}\n\n    {long}\n",
            f"| {long} | {long} |\n",
            f"## {long}\n",
            f"<!-- {long}\n{long} -->\n",
            f"[a]: {long}\n",
        ):
            self.assertEqual(problems("a.md", text), [], text)

    def test_text_after_code_is_read_again(self):
        for code in ("```\ncode\n```\n", "    code\n\n", "| a |\n"):
            text = f"Text:\n\n{code}{words(31)}\n"
            self.assertEqual(len(problems("a.md", text)), 1, text)

    def test_a_fence_is_not_ended_by_a_shorter_one(self):
        text = f"````\n```\n{words(31)}\n```\n````\n"
        self.assertEqual(problems("a.md", text), [])

    def test_a_list_item_is_its_own_sentence(self):
        half = words(16, "")
        for mark in ("-", "*", "1."):
            text = f"{mark} {half}\n{mark} {half}\n"
            self.assertEqual(problems("a.md", text), [], mark)
            text = f"{mark} {half}\n  {half}"
            self.assertEqual(len(problems("a.md", text)), 1)

    def test_paragraphs_of_an_item_are_read_and_are_no_code(self):
        text = f"- An item.\n\n    {words(31)}\n"
        self.assertEqual(len(problems("a.md", text)), 1)

    def test_quotes_are_read(self):
        half = words(16, "")
        self.assertEqual(len(problems("a.md", f"> {half}\n> {half}\n")), 1)


class CommentsTest(unittest.TestCase):
    def test_lines_that_follow_each_other_are_one_text(self):
        half = words(16, "")
        for path in ("mesh/a/a.h", "mesh/a/a.cc", "mesh/v1/a.proto"):
            text = f"int a;\n  // {half}\n  // {half}\nint b;\n"
            self.assertEqual(len(problems(path, text)), 1)
            self.assertTrue(problems(path, text)[0].startswith(f"{path}:2: "))
            text = f"  // {half}\nint a;\n  // {half}\n"
            self.assertEqual(problems(path, text), [])

    def test_a_comment_behind_code_goes_on_below_as_far_in(self):
        half = words(16, "")
        self.assertEqual(
            len(problems("a.h", f"int a;  // {half}\n        // {half}\n")), 1
        )
        for text in (
            f"int a;  // {half}\n// {half}\nint b;\n",
            f"int a;  // {half}\nint b;  // {half}\n",
        ):
            self.assertEqual(problems("a.h", text), [])

    def test_an_empty_line_and_a_list_begin_anew(self):
        half = words(16, "")
        for between in ("//", "// ----", "//\n//   code;\n//"):
            text = f"// {half}\n{between}\n// {half}\n"
            self.assertEqual(problems("a.h", text), [], between)
        text = f"// {half}:\n// - {half}\n// - {half}\n//   b.\n// {half}\n"
        self.assertEqual(problems("a.h", text), [])
        text = f"// - {half}\n//   {half}\n"
        self.assertEqual(len(problems("a.h", text)), 1)

    def test_each_line_of_a_table_begins_anew(self):
        half = words(12, "")
        text = f"//   kA   {half}\n//        {half}\n//   kB   {half}\n"
        self.assertEqual(problems("a.h", text), [])
        text = f"//   kA   {half}\n//        {half}\n//        {half}\n"
        self.assertEqual(len(problems("a.h", text)), 1)

    def test_strings_are_no_comments(self):
        long = words(40)
        for text in (
            f'f("// {long}");\n',
            f'f("\\"// {long}");\n',
            f'f(R"(\n// {long}\n)");\n',
            f'f(R"x(\n)"// {long}\n)x");\n',
            f"f('\"', \"// {long}\");\n",
        ):
            self.assertEqual(problems("a.cc", text), [], text)

    def test_what_follows_a_string_or_a_digit_separator_is_one(self):
        for code in ('f("a//b");', "f('\"');", "f(10'000);", 'R"(")";'):
            text = f"{code}  // {words(31)}\n"
            self.assertEqual(len(problems("a.cc", text)), 1, code)

    def test_comments_between_asterisks_are_read(self):
        text = f"/* {words(16, '')}\n * {words(16)} */\n"
        self.assertEqual(len(problems("a.cc", text)), 1)

    def test_other_files_are_not_read(self):
        self.assertEqual(problems("a.py", "# " + words(40)), [])
        self.assertEqual(problems("BUILD.bazel", "# " + words(40)), [])


class BeginningsTest(unittest.TestCase):
    def test_a_comment_that_hides_its_subject_is_an_error(self):
        for word in ("Of", "That", "Ours"):
            for text in (
                f"int a;  // {word} the last call.\n",
                f"// {word} the\n// last call.\nint a;\n",
                f"//\n// {word} it\n",
                f"/* {word} it */\n",
            ):
                found = problems("mesh/a/a.h", text)
                self.assertEqual(len(found), 1, text)
                self.assertIn(f'begins with "{word}"', found[0])

    def test_other_words_and_places_are_none(self):
        for text in (
            "// Offers that of ours.\n",
            "// The first. That is ours.\n// Of which there are two.\n",
            'f("// Of");\n',
            "// of(a) is called.\n",
            "// `Of` is a name.\n",
        ):
            self.assertEqual(problems("mesh/a/a.h", text), [], text)

    def test_docs_may_begin_so(self):
        self.assertEqual(problems("a.md", "That is it.\n"), [])


class WordsTest(unittest.TestCase):
    def test_a_word_that_has_another_is_found_wherever_it_is(self):
        for text in (
            "// A black hole.\n",
            "// A black\n// hole.\n",
            'f("black-hole");\n',
            "options::BlackHoleOptions black;\n",
            "a.black_hole.mode = 1;\n",
        ):
            found = problems("mesh/a/a.h", text)
            self.assertEqual(len(found), 1, text)
            self.assertIn("write silence", found[0])
        for text in ("```\nblack_hole: {}\n```\n", "| `black_hole` |\n"):
            self.assertEqual(len(problems("docs/a.md", text)), 1)

    def test_each_finding_says_where_and_what_to_write(self):
        self.assertEqual(
            problems("docs/a.md", "A\nsilent peer\n"),
            ['docs/a.md:2: "silent peer"; write silent endpoint: silent peer'],
        )

    def test_rates_say_per(self):
        for text in (
            "100 calls a second",
            "one a second",
            "5 a\nsecond",
            "2 calls an endpoint",
        ):
            self.assertEqual(len(problems("docs/a.md", text)), 1, text)
        for text in (
            "calls a second time",
            "It dials a second connection.",
            "half a second",
            "calls per second",
            "It asks an endpoint.",
        ):
            self.assertEqual(problems("docs/a.md", text), [], text)

    def test_history_may_name_what_was(self):
        for path in ("CHANGELOG.md", "docs/decisions/a.md"):
            self.assertEqual(problems(path, "A black hole.\n"), [])

    def test_the_reader_of_settings_knows_their_old_names(self):
        text = 'Old("black_hole", "silence");\n'
        self.assertEqual(problems("mesh/config/a.cc", text), [])
        self.assertEqual(problems("docs/migrating.md", "| `black_hole` |\n"), [])
        self.assertEqual(len(problems("docs/migrating.md", "A silent peer.\n")), 1)
        self.assertEqual(len(problems("mesh/a/a.cc", text)), 1)
        text = "a.black_hole is an old name: write a.silence instead\n"
        self.assertEqual(problems("docs/a.md", text), [])
        text = "a.black_hole: old\nA silent peer is an old name.\n"
        self.assertEqual(len(problems("docs/a.md", text)), 2)


if __name__ == "__main__":
    unittest.main()
