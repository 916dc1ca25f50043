#include "mesh/service/renewal_gate.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::service {
namespace {

TEST(RenewalGateTest, GivesItsPlacesToThoseWhoAskedFirst) {
  RenewalGate gate(2);
  std::vector<RenewalGate::Place> places(5);
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    gate.Enter([&, i](RenewalGate::Place place) {
      EXPECT_NE(place, nullptr);
      places[i] = std::move(place);
      order.push_back(i);
    });
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1}));
  places[1] = nullptr;
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  places[2] = nullptr;
  places[0] = nullptr;
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  places.clear();
  gate.Enter([&](const RenewalGate::Place&) { order.push_back(5); });
  EXPECT_EQ(order.back(), 5) << "places that were left are free";
}

TEST(RenewalGateTest, APlaceThatNobodyKeepsGoesToTheNext) {
  RenewalGate gate(1);
  RenewalGate::Place held;
  gate.Enter([&](RenewalGate::Place place) { held = std::move(place); });
  int told = 0;
  for (int i = 0; i < 3; ++i) {
    gate.Enter([&](const RenewalGate::Place&) { ++told; });
  }
  EXPECT_EQ(told, 0);
  held = nullptr;
  EXPECT_EQ(told, 3);
}

TEST(RenewalGateTest, ACopyOfAPlaceKeepsIt) {
  RenewalGate gate(1);
  RenewalGate::Place held;
  gate.Enter([&](RenewalGate::Place place) { held = std::move(place); });
  RenewalGate::Place copy = held;
  held = nullptr;
  bool told = false;
  gate.Enter([&](const RenewalGate::Place&) { told = true; });
  EXPECT_FALSE(told);
  copy = nullptr;
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace mesh::service
