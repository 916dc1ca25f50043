#include "mesh/service/connection_counts.h"

#include <cstdint>
#include <map>
#include <memory>

#include "gtest/gtest.h"

namespace mesh::service {
namespace {

using ByGeneration = std::map<uint64_t, uint64_t>;

TEST(ConnectionCountsTest, CountsConnectionsWhileTheyExist) {
  const auto counts = std::make_shared<ConnectionCounts>();
  EXPECT_EQ(counts->ByGeneration(), ByGeneration{});
  EXPECT_EQ(counts->MostGenerations(), 0u);
  auto first = counts->Add("a:1", 7);
  auto second = counts->Add("a:1", 8);
  auto third = counts->Add("a:1", 8);
  const auto other = counts->Add("b:1", 7);
  EXPECT_EQ(counts->ByGeneration(), (ByGeneration{{7, 2}, {8, 2}}));
  EXPECT_EQ(counts->MostGenerations(), 2u);
  second = nullptr;
  EXPECT_EQ(counts->MostGenerations(), 2u);
  first = nullptr;
  EXPECT_EQ(counts->ByGeneration(), (ByGeneration{{7, 1}, {8, 1}}));
  EXPECT_EQ(counts->MostGenerations(), 1u);
}

TEST(ConnectionCountsTest, OneThatIsCountedMayOutliveTheService) {
  auto counts = std::make_shared<ConnectionCounts>();
  const std::weak_ptr<ConnectionCounts> weak = counts;
  auto counted = counts->Add("a:1", 1);
  counts = nullptr;
  EXPECT_FALSE(weak.expired());
  counted = nullptr;
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace mesh::service
