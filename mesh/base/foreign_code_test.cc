#include "mesh/base/foreign_code.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::base {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ForeignCodeTest, CodeThatReturnsIsRunAndNothingIsCounted) {
  std::vector<std::string> told;
  ForeignCode code("it",
                   [&](const std::string& line) { told.push_back(line); });
  int runs = 0;
  EXPECT_TRUE(code.Run([&] { ++runs; }));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(code.thrown(), 0u);
  EXPECT_TRUE(told.empty());
}

TEST(ForeignCodeTest, WhatIsThrownIsCountedAndToldOnce) {
  std::vector<std::string> told;
  ForeignCode code("observers[1]",
                   [&](const std::string& line) { told.push_back(line); });
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(code.Run([] { throw std::runtime_error("no disk"); }));
  }
  EXPECT_EQ(code.thrown(), 3u);
  EXPECT_THAT(told, ElementsAre(AllOf(HasSubstr("observers[1]"),
                                      HasSubstr("no disk"))));
}

TEST(ForeignCodeTest, AnythingMayBeThrown) {
  std::vector<std::string> told;
  ForeignCode code("it",
                   [&](const std::string& line) { told.push_back(line); });
  EXPECT_FALSE(code.Run([] { throw 7; }));
  EXPECT_EQ(code.thrown(), 1u);
  EXPECT_EQ(told.size(), 1u);
}

}  // namespace
}  // namespace mesh::base
