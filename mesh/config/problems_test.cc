#include "mesh/config/problems.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"

namespace mesh::config {
namespace {

TEST(ProblemsTest, BeyondSomeThousandsAreCountedAndNotKept) {
  Problems inner("inner.yaml");
  for (int i = 0; i < 30000; ++i) inner.Add({i + 1, 1}, "it is wrong");
  EXPECT_LE(inner.list().size(), 10000u);
  Problems all("mesh.yaml");
  for (int i = 0; i < 30000; ++i) all.Add({i + 1, 1}, "it is wrong");
  all.Append(inner);
  EXPECT_LE(all.list().size(), 10000u);
  EXPECT_TRUE(absl::EndsWith(MessageOf(all.ToStatus()),
                             "mesh.yaml:1000:1: it is wrong.\n"
                             "there are 59000 more."));
}

TEST(ProblemsTest, CountsTheRestAlsoWhereOneLineIsSaidAgainAndAgain) {
  Problems all("mesh.yaml");
  for (int i = 0; i < 10005; ++i) all.Add({1, 1}, "it is wrong");
  EXPECT_EQ(MessageOf(all.ToStatus()),
            "mesh.yaml:1:1: it is wrong.\nthere are 5 more.");
}

TEST(ProblemsTest, AreOneLineEachAndDoNothingToATerminal) {
  Problems all("we\nird\u009b31m.yaml");
  all.Add({1, 2}, "a\u0080b\u009fc\x1b[1m\x7f\u00a0d\u00e9");
  EXPECT_EQ(MessageOf(all.ToStatus()),
            "we ird 31m.yaml:1:2: a b c [1m \u00a0d\u00e9.");
}

TEST(ProblemsTest, AFileThatIsNamedTwiceHasItsProblemsOnce) {
  Problems a("a.json"), b("b.json");
  a.Add({1, 1}, "it is wrong");
  b.Add({1, 1}, "it is wrong");
  Problems all("mesh.yaml");
  all.Append(b);
  all.Append(a);
  all.Append(b);
  all.Add({7, 1}, "it is wrong");
  EXPECT_EQ(MessageOf(all.ToStatus()),
            "mesh.yaml:7:1: it is wrong.\n"
            "a.json:1:1: it is wrong.\n"
            "b.json:1:1: it is wrong.");
}

TEST(ProblemsTest, OfATextWithinATextAreInItsOwnOrder) {
  EXPECT_EQ(ErrorOf(Service(
                "grpc_service_config:\n      json: '{\"methodConfig\": "
                "[{\"timeout\": 5, \"waitForReady\":                         "
                "                                            1}]}'")),
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 1, "
            "column 31: methodConfig[0].timeout must be a string, but is 5.\n"
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 1, "
            "column 118: methodConfig[0].waitForReady must be true or false, "
            "but is 1.");
}

}  // namespace
}  // namespace mesh::config
