"""Tests of what front_door.py reads of a header."""

import os
import tempfile
import unittest

import front_door

HEADER = """
#ifndef MESH_A_H_
#define MESH_A_H_
#include <string>
#include "mesh/b.h"

// struct InAComment { int a; };
namespace mesh {

class Elsewhere;  // Only named.
enum class Kind : uint8_t { kOne, kTwo };

// It isn't a field; nor are they.
inline constexpr int kMost = 3;

struct Value {
  enum Inner { kA, kB };
  int one = 1, two{2};
  std::map<std::string, int> by_name;
  std::function<void(int)> call;
  char text[3] = {'a', ';', '}'};
  struct Part {
    double x = 0;
  } part;
  static constexpr int kStatic = 4;
  using Number = int;
  Value() : one(2) {}
  int Sum(int by = 0, Kind kind = {}) const { return one + two; }
  bool operator==(const Value& other) const;
  explicit operator bool() const { return one != 0; }
};

template <typename T, typename U = std::vector<T>>
class Holder final : public Base {
 public:
  virtual std::string Name(Value value = {}) = 0;
  T shown;

 private:
  friend class Other;
  struct Hidden {
    int secret = 0;
  };
  int guarded_ ABSL_GUARDED_BY(mu_) = 0;
};

struct alignas(64) Wide {
  std::atomic<int> count ABSL_GUARDED_BY(mu){0};
};

}  // namespace mesh
#endif
"""


class ScanTest(unittest.TestCase):
    def test_public_types_and_fields_are_counted_and_nothing_else(self):
        types, fields = front_door.scan(HEADER)
        self.assertEqual(
            types,
            ["Kind", "Value", "Value::Inner", "Value::Part", "Holder", "Wide"],
        )
        self.assertEqual(
            fields,
            [
                "Value::one",
                "Value::two",
                "Value::by_name",
                "Value::call",
                "Value::text",
                "Value::Part::x",
                "Value::part",
                "Holder::shown",
                "Wide::count",
            ],
        )


class ReachTest(unittest.TestCase):
    def count(self, headers):
        with tempfile.TemporaryDirectory() as root:
            for path, text in headers.items():
                os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
                with open(f"{root}/{path}", "w", encoding="utf-8") as file:
                    file.write(text)
            return front_door.count(root)

    def test_each_header_counts_once_and_generated_ones_do_not(self):
        counted = self.count(
            {
                "mesh/mesh.h": '#include "mesh/log.h"\n'
                '#include "mesh/v1/config.pb.h"\nstruct A { int a; };',
                "mesh/server/server.h": '#include "mesh/log.h"\n',
                "mesh/log.h": "enum B { kB };",
            }
        )
        totals, problems = front_door.problems_of(counted, (3, 2, 1))
        self.assertEqual(totals, (3, 2, 1))
        self.assertEqual(problems, [])

    def test_more_than_the_most_is_a_problem(self):
        counted = [("mesh/mesh.h", ["A", "B"], ["A::a"])]
        self.assertEqual(
            front_door.problems_of(counted, (1, 1, 1))[1],
            ["the front door reaches 2 types, more than 1"],
        )

    def test_a_room_that_callers_have_nothing_to_do_with_is_named(self):
        counted = [("mesh/options/health.h", [], [])]
        self.assertEqual(
            front_door.problems_of(counted, (1, 1, 1))[1],
            ["the front door reaches mesh/options/health.h: room options"],
        )


if __name__ == "__main__":
    unittest.main()
