#include "mesh/testing/mutator.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace mesh::testing {
namespace {

TEST(MutatorTest, APieceIsAWordAQuotedTextOrABracketWithAllThatItHolds) {
  EXPECT_EQ(PieceAt("max_calls: 5", 0), "max_calls");
  EXPECT_EQ(PieceAt("a \"b \\\" c\", d", 2), "\"b \\\" c\"");
  EXPECT_EQ(PieceAt("x{\"a\": [1, {}]}, 2", 1), "{\"a\": [1, {}]}");
  EXPECT_EQ(PieceAt("a: b", 1), ":");
  EXPECT_EQ(PieceAt("[[", 0), "[[");
  EXPECT_EQ(PieceAt("\"open\\", 0), "\"open\\");
  EXPECT_EQ(PieceAt("a", 1), "");
}

TEST(MutatorTest, ASeedMakesTheSameTextAgainAndOthersMakeOthers) {
  const Mutator mutator({"{\"a\": [1, 2], \"b\": {\"c\": true}}", "x: 5\n"});
  std::set<std::string> made;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const std::string text = mutator.Make(seed);
    EXPECT_EQ(text, mutator.Make(seed));
    made.insert(text);
  }
  EXPECT_GT(made.size(), 500u);
}

TEST(MutatorTest, DropsAFieldAndLeavesTheRestAsItIs) {
  const Mutator mutator({"{\"a\": [1], \"b\": {\"c\": 2}, \"d\": 3}"});
  std::set<std::string> made;
  for (uint64_t seed = 0; seed < 2000; ++seed) made.insert(mutator.Make(seed));
  EXPECT_EQ(made.count("{\"a\": [1],  \"d\": 3}"), 1u);
  EXPECT_EQ(made.count("{\"a\": [1], \"b\": {\"c\": 2}}"), 1u);
}

TEST(MutatorTest, TakesAnyInputAndNone) {
  for (const std::string text :
       {"", "\"", "{", "}", "\\", ",", "a:", "\xff\x00z", "\"\\"}) {
    const Mutator mutator({text});
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      EXPECT_LE(mutator.Make(seed).size(), Mutator::kMaxSize);
    }
  }
  EXPECT_LE(Mutator({}).Make(1).size(), Mutator::kMaxSize);
}

}  // namespace
}  // namespace mesh::testing
