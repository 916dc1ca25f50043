"""Tests of the rules of `./run lint` that are read from the text of a file."""

import unittest

import lint_rooms
import lint_sizes


class RoomsTest(unittest.TestCase):
    def test_a_wrong_include_names_both_rooms_and_the_rule(self):
        problems = lint_rooms.check_includes(
            "mesh/balancing/tier.cc",
            '#include "mesh/base/clock.h"\n#include "mesh/resilience/caps.h"\n',
        )
        self.assertEqual(
            problems,
            [
                "mesh/balancing/tier.cc:2: room balancing includes "
                "mesh/resilience/caps.h of room resilience; balancing may "
                "include only base, cluster, options"
            ],
        )

    def test_the_service_room_does_not_know_the_channel(self):
        problems = lint_rooms.check_includes(
            "mesh/service/service.cc", '#include "mesh/channel/channel.h"\n'
        )
        self.assertEqual(len(problems), 1)

    def test_the_grpc_room_knows_nothing_of_mesh_above_base(self):
        for header in ("options/service.h", "call/call_machine.h", "log.h"):
            self.assertEqual(
                len(
                    lint_rooms.check_includes(
                        "mesh/grpc/access.h", f'#include "mesh/{header}"\n'
                    )
                ),
                1,
                header,
            )

    def test_a_library_that_the_room_may_not_use_is_named(self):
        problems = lint_rooms.check_includes(
            "mesh/call/call_machine.cc", "#include <grpcpp/grpcpp.h>\n"
        )
        self.assertEqual(len(problems), 1)
        self.assertIn(lint_rooms.GRPC, problems[0])

    def test_a_room_that_the_table_does_not_have_is_an_error(self):
        self.assertEqual(
            len(lint_rooms.check_includes("mesh/attic/a.h", "")), 1
        )

    def test_files_of_mesh_itself_are_the_front_but_for_two(self):
        self.assertEqual(lint_rooms.room_of_file("mesh.cc"), "front")
        self.assertEqual(lint_rooms.room_of_file("log.h"), "log")
        self.assertEqual(lint_rooms.room_of_label("//mesh:fallback"), "fallback")
        self.assertEqual(lint_rooms.room_of_label("//mesh/call"), "call")
        self.assertEqual(lint_rooms.room_of_label("//mesh/v1:proto"), "v1")
        self.assertIsNone(lint_rooms.room_of_label("@com_google_absl//:time"))

    def test_the_table_points_only_down(self):
        """No room uses one that uses it, over any number of steps."""
        for room, (uses, _) in lint_rooms.ROOMS.items():
            seen = set()
            todo = list(uses or [])
            while todo:
                other = todo.pop()
                self.assertIn(other, lint_rooms.ROOMS)
                if other not in seen:
                    seen.add(other)
                    todo += lint_rooms.ROOMS[other][0] or []
            self.assertNotIn(room, seen)


class FriendsTest(unittest.TestCase):
    def test_a_friend_of_another_file_is_an_error(self):
        problems = lint_rooms.check_friends(
            "mesh/channel/call.h", "class Call {\n  friend class Hedging;\n};\n"
        )
        self.assertEqual(len(problems), 1)

    def test_a_declaration_beside_it_does_not_help(self):
        problems = lint_rooms.check_friends(
            "mesh/channel/call.h",
            "class Hedging;\nclass Call {\n  friend class Hedging;\n};\n",
        )
        self.assertEqual(len(problems), 1)

    def test_a_class_of_the_same_file_may_be_a_friend(self):
        text = "class Mutex {\n  friend class CondVar;\n};\nclass CondVar {\n};\n"
        self.assertEqual(lint_rooms.check_friends("mesh/base/mutex.h", text), [])

    def test_friend_functions_defined_in_place_are_for_the_access_only(self):
        text = "  friend int Class::*Member() { return Pointer; }\n"
        self.assertEqual(
            len(lint_rooms.check_friends("mesh/server/server.cc", text)), 1
        )
        self.assertEqual(lint_rooms.check_friends(lint_rooms.ACCESS, text), [])


class NamesTest(unittest.TestCase):
    def test_a_name_that_two_types_have_is_an_error_with_both_places(self):
        problems = lint_rooms.check_names(
            {"mesh/a/a.h": "struct Batch {\n", "mesh/b/b.h": "\n  class Batch {\n"}
        )
        self.assertEqual(len(problems), 1)
        self.assertIn("mesh/a/a.h:1, mesh/b/b.h:2", problems[0])

    def test_declarations_are_no_types(self):
        problems = lint_rooms.check_names(
            {"mesh/a/a.h": "struct Batch {\n", "mesh/b/b.h": "class Batch;\n"}
        )
        self.assertEqual(problems, [])


def function(lines, head="void F(int a) {"):
    return "\n".join([head] + ["  a++;"] * (lines - 2) + ["}"]) + "\n"


class SizesTest(unittest.TestCase):
    def test_a_function_of_81_lines_is_too_long_and_one_of_80_is_not(self):
        self.assertEqual(lint_sizes.check_file("mesh/a/a.cc", function(80)), [])
        problems = lint_sizes.check_file("mesh/a/a.cc", "\n" + function(81))
        self.assertEqual(
            problems, ["mesh/a/a.cc:2: a function of 81 lines; 80 at most"]
        )

    def test_tests_may_be_longer(self):
        for path in ("mesh/a/a_test.cc", "tests/a/a.cc", "mesh/testing/a.h"):
            self.assertEqual(lint_sizes.check_file(path, function(120)), [])
            self.assertEqual(len(lint_sizes.check_file(path, function(121))), 1)

    def test_a_method_whose_head_takes_several_lines_is_found(self):
        text = "class A {\n" + "\n".join(
            ["  void Method(int first,", "              int second) const {"]
            + ["    first++;"] * 90
            + ["  }", "};", ""]
        )
        problems = lint_sizes.check_file("mesh/a/a.h", text)
        self.assertEqual(
            problems, ["mesh/a/a.h:2: a function of 93 lines; 80 at most"]
        )

    def test_a_table_says_so_on_its_first_line(self):
        table = function(200, "std::string Text(int a) {  // Table.")
        self.assertEqual(lint_sizes.check_file("mesh/a/a.cc", table), [])

    def test_a_class_is_no_function(self):
        text = "class A {\n" + "  int a;\n" * 200 + "};\n"
        self.assertEqual(lint_sizes.check_file("mesh/a/a.h", text), [])

    def test_a_file_of_701_lines_is_too_long(self):
        self.assertEqual(lint_sizes.check_file("mesh/a/a.cc", "\n" * 699 + "a\n"), [])
        self.assertEqual(
            len(lint_sizes.check_file("mesh/a/a.cc", "\n" * 700 + "a\n")), 1
        )

    def test_the_share_of_tests_counts_tests_beside_the_code(self):
        shares = lint_sizes.shares_of_tests(
            {
                "mesh/channel/a.cc": "\n" * 100,
                "mesh/channel/a_test.cc": "\n" * 60,
                "mesh/service/a.cc": "\n" * 100,
                "mesh/service/a_test.cc": "\n" * 50,
                "tests/matrix/a_test.cc": "\n" * 1000,
            }
        )
        self.assertEqual(shares, {"channel": 0.6, "service": 0.5})
        self.assertEqual(len(lint_sizes.check_shares(shares)), 1)


if __name__ == "__main__":
    unittest.main()
