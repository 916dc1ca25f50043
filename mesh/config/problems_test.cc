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

}  // namespace
}  // namespace mesh::config
