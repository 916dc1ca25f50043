#include "benchmarks/identity/sockets.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::benchmarks {
namespace {

using testing::ElementsAre;

absl::Time At(int milliseconds) {
  return absl::UnixEpoch() + absl::Milliseconds(milliseconds);
}

bool IsOld(const std::string& serial) { return serial == "old"; }

TEST(OpenPairsTest, FindsEstablishedConnectionsAtEitherEnd) {
  // Ports 1000 (3E8) and 8443 (20FB). 06 is TIME_WAIT, 08 CLOSE_WAIT.
  constexpr char kTable[] =
      "  sl  local_address rem_address   st tx_queue rx_queue\n"
      "   0: 00000000:20FB 00000000:0000 0A 00000000:00000000\n"
      "   1: 0100007F:03E8 0100007F:20FB 01 00000000:00000000\n"
      "   2: 0100007F:20FB 0100007F:03E9 01 00000000:00000000\n"
      "   3: 0100007F:03EA 0100007F:20FB 06 00000000:00000000\n"
      "   4: 0100007F:03EB 0100007F:20FB 08 00000000:00000000\n"
      "   5: 0100007F:03EC 0100007F:1F90 01 00000000:00000000\n";
  EXPECT_THAT(OpenPairs(kTable, {8443}),
              ElementsAre(Pair(1000, 8443), Pair(1001, 8443)));
  // A table of tcp6, with addresses of 32 digits.
  constexpr char kTable6[] =
      "   0: 0000000000000000FFFF00000100007F:03E8 "
      "0000000000000000FFFF00000100007F:20FB 01 00000000:00000000\n";
  EXPECT_THAT(OpenPairs(kTable6, {8443}), ElementsAre(Pair(1000, 8443)));
}

TEST(ConnectionLogTest, CountsWhatEitherEndHasSeen) {
  ConnectionLog log;
  log.Look({{1, 9}, {2, 9}, {3, 9}}, At(0));
  log.SeenByServer({1, 9}, "old", At(10));
  log.SeenByClient({2, 9}, "old", At(10));
  log.SeenByServer({3, 9}, "new", At(10));
  log.SeenByClient({3, 9}, "new", At(10));
  EXPECT_EQ(log.Bad(IsOld, At(0)).known, 2);
  EXPECT_EQ(log.Bad(IsOld, At(0)).unknown, 0);
  log.Look({{2, 9}, {3, 9}}, At(50));
  EXPECT_EQ(log.Bad(IsOld, At(0)).all(), 1) << "one has gone";
}

TEST(ConnectionLogTest, WhatNobodyHasSeenCountsByItsAge) {
  ConnectionLog log;
  log.Look({{1, 9}}, At(0));
  log.Look({{1, 9}, {2, 9}}, At(100));
  EXPECT_EQ(log.Bad(IsOld, At(50)).unknown, 1);
  EXPECT_EQ(log.Bad(IsOld, At(50)).known, 0);
  EXPECT_EQ(log.Bad(IsOld, At(0)).unknown, 0);
}

TEST(ConnectionLogTest, APortThatWasAwayIsOfAnotherConnection) {
  ConnectionLog log;
  log.Look({{1, 9}}, At(0));
  log.SeenByServer({1, 9}, "old", At(10));
  log.Look({}, At(50));
  log.Look({{1, 9}}, At(1000));
  EXPECT_EQ(log.Bad(IsOld, At(0)).all(), 0);
  // Told late.
  log.SeenByServer({1, 9}, "old", At(20));
  EXPECT_EQ(log.Bad(IsOld, At(0)).all(), 0);
}

TEST(ConnectionLogTest, AnEndMayTellBeforeALookFindsTheConnection) {
  ConnectionLog log;
  log.Look({}, At(0));
  log.SeenByServer({1, 9}, "old", At(30));
  log.Look({{1, 9}}, At(50));
  EXPECT_EQ(log.Bad(IsOld, At(0)).known, 1);
}

}  // namespace
}  // namespace mesh::benchmarks
