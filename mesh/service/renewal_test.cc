#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/service/connections_test_util.h"

// Connections when there is a newer generation of secrets, when one is
// withdrawn, and when a peer expires.

namespace mesh::service {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(20);

class RenewalTest : public ConnectionsTest {
 protected:
  RenewalTest() { settings_.secrets = Generation(1, 0, spread_); }
  ~RenewalTest() override { EndCalls(absl::InfiniteFuture()); }

  static SecretsPtr Generation(uint64_t generation, uint64_t withdrawn_before,
                               absl::Duration spread) {
    auto secrets = std::make_shared<Secrets>();
    secrets->make = [](const Secrets::Expires&) {
      return grpc::InsecureChannelCredentials();
    };
    secrets->generation = generation;
    secrets->withdrawn_before = withdrawn_before;
    secrets->spread = spread;
    return secrets;
  }
  void Rotate(uint64_t generation, uint64_t withdrawn_before = 0) {
    settings_.secrets = Generation(generation, withdrawn_before, spread_);
    ASSERT_TRUE(connections_->Configure(settings_));
    connections_->Renew();
    Settle();
  }
  // All of `addresses` are connected with the first generation.
  void Connect(const Addresses& addresses) {
    Begin(addresses);
    for (const std::string& address : addresses) {
      answers_.insert(address);
      Set(address, GRPC_CHANNEL_READY);
    }
    Settle();
  }
  // What the service does when something has changed.
  void Settle() {
    control_.loop.Run();
    connections_->Replan();
    connections_->RetireReplaced();
    control_.loop.Run();
  }
  // Dials succeed or fail one step after they have begun, or hang.
  void Pass(absl::Duration by) {
    for (absl::Duration passed; passed < by; passed += kStep) {
      const Addresses all = AllConnecting();
      Advance(kStep);
      for (const std::string& address : all) {
        if (!network_.connecting(address)) continue;
        if (answers_.count(address) > 0) Set(address, GRPC_CHANNEL_READY);
        if (refuses_.count(address) > 0) {
          Set(address, GRPC_CHANNEL_TRANSIENT_FAILURE);
        }
      }
      EndCalls(control_.clock.Now());
      Settle();
      most_open_ =
          std::max(most_open_, connections_->counts().MostGenerations());
    }
  }
  Addresses AllConnecting() {
    Addresses all;
    for (const cluster::Member& member : connections_->members()) {
      const std::string& address = member.live->endpoint().address;
      if (network_.connecting(address)) all.push_back(address);
    }
    return all;
  }

  // A call on an endpoint that is connected.
  void Call(const cluster::LiveEndpointPtr& endpoint, absl::Duration lasts) {
    ASSERT_EQ(endpoint->readiness(), Readiness::kReady);
    ASSERT_TRUE(endpoint->Acquire());
    calls_.emplace_back(control_.clock.Now() + lasts, endpoint);
  }
  void EndCalls(absl::Time until) {
    for (auto& [ends, endpoint] : calls_) {
      if (ends > until) continue;
      endpoint->mutable_counters().CountEnd(absl::StatusCode::kOk, false);
      endpoint->Release();
      endpoint = nullptr;
    }
    calls_.erase(
        std::remove_if(calls_.begin(), calls_.end(),
                       [](const auto& call) { return call.second == nullptr; }),
        calls_.end());
  }

  // The generation of the connection that calls use. 0: there is none.
  uint64_t GenerationOf(const std::string& address) {
    const auto* const endpoint = ConnectedEndpoint::Of(Endpoint(address).get());
    return endpoint->connection() != nullptr
               ? endpoint->connection()->generation()
               : 0;
  }
  uint64_t OpenOf(uint64_t generation) {
    const auto counts = connections_->counts().ByGeneration();
    const auto found = counts.find(generation);
    return found != counts.end() ? found->second : 0;
  }

  absl::Duration spread_ = absl::Seconds(30);
  std::set<std::string> answers_;
  std::set<std::string> refuses_;
  std::deque<std::pair<absl::Time, cluster::LiveEndpointPtr>> calls_;
  uint64_t most_open_ = 0;
};

Addresses Many(int count) {
  Addresses many;
  for (int i = 0; i < count; ++i) many.push_back(absl::StrCat("a", i, ":1"));
  return many;
}

// --- Renewal

TEST_F(RenewalTest, EachConnectionIsReplacedOnceWithinTheSpread) {
  const Addresses all = Many(20);
  Connect(all);
  Rotate(2);
  EXPECT_EQ(network_.all_live(), 20) << "each has a moment of its own";
  Pass(absl::Seconds(15));
  EXPECT_GT(OpenOf(2), 2u);
  EXPECT_GT(OpenOf(1), 2u);
  Pass(absl::Seconds(16));
  EXPECT_EQ(OpenOf(1), 0u);
  EXPECT_EQ(OpenOf(2), 20u);
  for (const std::string& address : all) {
    EXPECT_EQ(network_.made(address), 2) << address;
    EXPECT_EQ(ReadinessOf(address), Readiness::kReady);
  }
  EXPECT_EQ(most_open_, 2u);
  EXPECT_EQ(lost_, 0);
  EXPECT_EQ(connected_.size(), 20u) << "no news of anyone's health";
}

TEST_F(RenewalTest, TheOldConnectionIsUsedUntilTheNewOneIsThere) {
  spread_ = absl::ZeroDuration();
  Connect({"a:1"});
  const cluster::LiveEndpointPtr old = Endpoint("a:1");
  Call(old, absl::Seconds(3));
  Rotate(2);
  EXPECT_EQ(network_.made("a:1"), 2);
  EXPECT_EQ(Endpoint("a:1"), old);
  Pass(absl::Seconds(1));
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_EQ(GenerationOf("a:1"), 2u);
  EXPECT_EQ(OpenOf(1), 1u) << "it drains";
  Pass(absl::Seconds(3));
  EXPECT_EQ(OpenOf(1), 0u);
  EXPECT_EQ(network_.broken("a:1"), 0);
  EXPECT_TRUE(cut_off_.empty());
}

class RenewalStormTest : public RenewalTest,
                         public ::testing::WithParamInterface<int> {};

TEST_P(RenewalStormTest, AThousandGenerationsAtTwoPerSecond) {
  spread_ = absl::Seconds(GetParam());
  const Addresses all = {"a:1", "b:1", "c:1"};
  Connect(all);
  for (uint64_t generation = 2; generation <= 1001; ++generation) {
    // Every tenth withdraws what is more than a while old.
    Rotate(generation, generation % 10 == 0 ? generation - 5 : 0);
    for (int i = 0; i < 25; ++i) {
      for (const std::string& address : all) {
        ASSERT_NO_FATAL_FAILURE(
            Call(Endpoint(address), absl::Milliseconds(60)));
      }
      Pass(kStep);
      ASSERT_LE(most_open_, 3u) << generation;
    }
    for (const std::string& address : all) {
      // A moment is at most the spread away; a step and a place are little.
      ASSERT_GE(GenerationOf(address) + 2 * GetParam() + 3, generation);
    }
  }
  for (const std::string& address : all) {
    // At the soonest once in each half second.
    EXPECT_LE(network_.made(address), 1001);
    EXPECT_GE(network_.made(address), 500 / (GetParam() + 1));
    EXPECT_EQ(network_.broken(address), 0);
    EXPECT_LE(network_.live(address), 3);
  }
  EXPECT_EQ(lost_, 0);
  EXPECT_TRUE(cut_off_.empty());
  EXPECT_EQ(connected_.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(Spreads, RenewalStormTest,
                         ::testing::Values(0, 1, 30));

TEST_F(RenewalTest, StreamsThatGoOnHoldRenewalsUpSoThatThreeAreOpen) {
  spread_ = absl::Seconds(1);
  settings_.options.drain_timeout = absl::Hours(1);
  Connect({"a:1"});
  int made = 0;
  for (uint64_t generation = 2; generation <= 60; ++generation) {
    Call(Endpoint("a:1"), absl::Minutes(1));
    Rotate(generation);
    Pass(absl::Milliseconds(500));
    // By then there is a stream on each of three.
    if (generation == 30) made = network_.made("a:1");
  }
  EXPECT_EQ(most_open_, 3u);
  EXPECT_EQ(network_.made("a:1"), made);
  EXPECT_TRUE(cut_off_.empty());
  Pass(absl::Minutes(2));
  EXPECT_EQ(GenerationOf("a:1"), 60u) << "when they have ended";
  EXPECT_EQ(most_open_, 3u);
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(RenewalTest, OneHandshakeAtATimeForEachPlaceOfTheProcess) {
  spread_ = absl::ZeroDuration();
  const Addresses all = Many(10);
  Connect(all);
  answers_.clear();
  Rotate(2);
  EXPECT_EQ(OpenOf(2), 2u);
  Pass(absl::Milliseconds(900));
  EXPECT_EQ(OpenOf(2), 2u);
  Pass(absl::Milliseconds(200));
  EXPECT_EQ(OpenOf(2), 4u) << "those that hang hold nobody up for long";
  answers_.insert(all.begin(), all.end());
  Pass(absl::Milliseconds(200));
  EXPECT_EQ(OpenOf(2), 10u);
  EXPECT_EQ(OpenOf(1), 0u);
  Pass(absl::Seconds(5));
  RenewalGate::Place first, second;
  gate_.Enter([&](RenewalGate::Place place) { first = std::move(place); });
  gate_.Enter([&](RenewalGate::Place place) { second = std::move(place); });
  EXPECT_NE(first, nullptr);
  EXPECT_NE(second, nullptr) << "the places were given back";
}

TEST_F(RenewalTest, APlaceThatComesTooLateIsGivenBack) {
  spread_ = absl::ZeroDuration();
  Connect({"a:1"});
  std::vector<RenewalGate::Place> others;
  for (int i = 0; i < 2; ++i) {
    gate_.Enter([&](RenewalGate::Place place) { others.push_back(place); });
  }
  Rotate(2);
  Pass(absl::Seconds(1));
  EXPECT_EQ(network_.made("a:1"), 1) << "it waits";
  Keep({});
  RenewalGate::Place next;
  gate_.Enter([&](RenewalGate::Place place) { next = std::move(place); });
  others.pop_back();
  control_.loop.Run();
  EXPECT_NE(next, nullptr);
}

TEST_F(RenewalTest, APlaceForOneThatIsGoneIsGivenBack) {
  spread_ = absl::ZeroDuration();
  Connect({"a:1"});
  std::vector<RenewalGate::Place> others;
  for (int i = 0; i < 2; ++i) {
    gate_.Enter([&](RenewalGate::Place place) { others.push_back(place); });
  }
  Rotate(2);
  RenewalGate::Place next;
  gate_.Enter([&](RenewalGate::Place place) { next = std::move(place); });
  control_.owner.reset();
  connections_.reset();
  others.pop_back();
  control_.loop.Run();
  EXPECT_NE(next, nullptr);
}

TEST_F(RenewalTest, AServerThatRefusesTheNewIdentityGoesOnWithTheOldOne) {
  spread_ = absl::Seconds(1);
  Connect({"a:1"});
  const cluster::LiveEndpointPtr old = Endpoint("a:1");
  answers_.clear();
  refuses_.insert("a:1");
  for (uint64_t generation = 2; generation <= 121; ++generation) {
    Rotate(generation);
    Pass(absl::Milliseconds(500));
    ASSERT_EQ(Endpoint("a:1"), old);
    ASSERT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  }
  EXPECT_LE(network_.made("a:1"), 14) << "a backoff that grows, for a minute";
  EXPECT_GE(network_.made("a:1"), 7);
  EXPECT_EQ(connected_.size(), 1u);
  refuses_.clear();
  answers_.insert("a:1");
  Pass(absl::Seconds(15));
  EXPECT_EQ(GenerationOf("a:1"), 121u);
}

// --- Those that are not connected

class DeadEndpointTest
    : public RenewalTest,
      public ::testing::WithParamInterface<std::pair<bool, bool>> {};

TEST_P(DeadEndpointTest, IsDialledNoMoreOftenForANewGeneration) {
  const auto [withdraws, hangs] = GetParam();
  if (!hangs) refuses_.insert("a:1");
  Begin({"a:1"});
  for (uint64_t generation = 2; generation <= 121; ++generation) {
    Rotate(generation, withdraws ? generation : 0);
    Pass(absl::Milliseconds(500));
  }
  // In a minute, with a backoff that grows from 1 s to 10 s. gRPC would end the
  // dial that hangs. A dial that is given up young does not make it grow.
  const int made = network_.made("a:1");
  EXPECT_LE(made, hangs ? 25 : 14);
  EXPECT_GE(made, hangs && !withdraws ? 1 : 6);
  EXPECT_TRUE(replaced_.empty());
}

INSTANTIATE_TEST_SUITE_P(All, DeadEndpointTest,
                         ::testing::Values(std::pair(false, false),
                                           std::pair(false, true),
                                           std::pair(true, false),
                                           std::pair(true, true)));

TEST_F(RenewalTest, OneThatIsBeingDialledIsNotThrownAwayForARenewal) {
  Begin({"a:1"});
  Rotate(2);
  EXPECT_EQ(network_.made("a:1"), 1);
  Set("a:1", GRPC_CHANNEL_READY);
  Settle();
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  EXPECT_EQ(GenerationOf("a:1"), 1u);
  answers_.insert("a:1");
  Pass(absl::Seconds(31));
  EXPECT_EQ(GenerationOf("a:1"), 2u);
  EXPECT_EQ(network_.made("a:1"), 2);
}

TEST_F(RenewalTest, OneThatIsBeingDialledIsDialledAnewForAWithdrawal) {
  Begin({"a:1"});
  Rotate(2, 2);
  EXPECT_EQ(OpenOf(1), 0u);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting) << "calls wait";
  answers_.insert("a:1");
  Pass(absl::Milliseconds(1300));
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  EXPECT_EQ(GenerationOf("a:1"), 2u);
  EXPECT_EQ(network_.made("a:1"), 2);
}

TEST_F(RenewalTest, WhateverIsDialledIsDialledWithTheNewest) {
  Connect({"a:1"});
  Advance(absl::Seconds(1));
  Rotate(2);
  Set("a:1", GRPC_CHANNEL_IDLE);
  Settle();
  EXPECT_EQ(GenerationOf("a:1"), 2u);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting);
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(RenewalTest, AnIdleChannelOfAnEarlierGenerationIsClosed) {
  settings_.options.ahead = 0;
  Begin({"a:1"});
  connections_->Want();
  Set("a:1", GRPC_CHANNEL_READY);
  Settle();
  Advance(absl::Seconds(1));
  Set("a:1", GRPC_CHANNEL_IDLE);
  Settle();
  EXPECT_EQ(network_.live("a:1"), 1);
  Rotate(2);
  EXPECT_EQ(network_.live("a:1"), 0);
  connections_->Want();
  EXPECT_EQ(GenerationOf("a:1"), 2u);
}

TEST_F(RenewalTest, OtherSettingsAreForAllAtOnceAsEver) {
  Connect({"a:1", "b:1"});
  settings_.authority = "other.example";
  Rotate(2);
  EXPECT_EQ(OpenOf(2), 2u);
  Pass(absl::Seconds(1));
  EXPECT_EQ(OpenOf(1), 0u);
  Rotate(3);
  EXPECT_EQ(OpenOf(3), 0u) << "this is a renewal again";
}

TEST_F(RenewalTest, OtherFixedCredentialsAreForAllAtOnceAsEver) {
  settings_.secrets = FixedSecrets(grpc::InsecureChannelCredentials());
  Connect({"a:1", "b:1"});
  settings_.secrets = FixedSecrets(grpc::InsecureChannelCredentials());
  ASSERT_TRUE(connections_->Configure(settings_));
  connections_->Renew();
  EXPECT_EQ(network_.live("a:1"), 2);
  EXPECT_EQ(network_.live("b:1"), 2);
}

TEST_F(RenewalTest, ASurplusConnectionIsClosedAllTheSame) {
  settings_.options.ahead = 1;
  spread_ = absl::Seconds(1);
  Begin({"a:1", "b:1"});
  answers_ = {"a:1", "b:1"};
  Advance(absl::Milliseconds(250));
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  Settle();
  for (uint64_t generation = 2; generation <= 100; ++generation) {
    Rotate(generation);
    Pass(absl::Milliseconds(500));
  }
  Pass(absl::Seconds(2));
  EXPECT_EQ(network_.all_live(), 1);
  EXPECT_EQ(lost_, 0);
}

// --- Health

TEST_F(RenewalTest, ASilentOneGetsNoMoreDialsForIt) {
  Connect({"a:1"});
  answers_.clear();
  const cluster::LiveEndpointPtr silent = Endpoint("a:1");
  Call(silent, absl::Hours(1));
  silent->set_health(cluster::Health::kSuspect, 255);
  connections_->OnHealthChange();
  EXPECT_EQ(network_.made("a:1"), 2);
  for (uint64_t generation = 2; generation <= 10; ++generation) {
    Rotate(generation);
    Pass(absl::Milliseconds(100));
  }
  EXPECT_EQ(network_.made("a:1"), 2);
  Set("a:1", GRPC_CHANNEL_READY);
  Settle();
  EXPECT_NE(Endpoint("a:1"), silent);
  EXPECT_EQ(connected_.size(), 2u) << "this is news of its health";
}

TEST_F(RenewalTest, OnlyOneThatIsOutIsToldOfItsRenewal) {
  spread_ = absl::ZeroDuration();
  Connect({"a:1", "b:1"});
  Endpoint("a:1")->set_health(cluster::Health::kEjected, 0);
  connections_->OnHealthChange();
  Rotate(2);
  Pass(absl::Seconds(1));
  EXPECT_EQ(GenerationOf("a:1"), 2u);
  EXPECT_EQ(replaced_.size(), 2u) << "its health goes with it";
  // It may have said that it is draining, which ends with the connection.
  EXPECT_EQ(connected_, Addresses({"a:1", "b:1", "a:1"}));
}

// --- Withdrawal

TEST_F(RenewalTest, FortyEndpointsAreReplacedInTwoSecondsAndClosedInFive) {
  const Addresses all = Many(40);
  settings_.options.ahead = 40;
  Connect(all);
  for (const std::string& address : all) {
    Call(Endpoint(address), absl::Seconds(3));
  }
  Rotate(2, 2);
  uint64_t before = 0;
  for (int i = 0; i < 100; ++i) {
    Pass(kStep);
    EXPECT_LE(OpenOf(2) - before, 12u) << "not all at one time";
    before = OpenOf(2);
  }
  for (const std::string& address : all) {
    EXPECT_EQ(GenerationOf(address), 2u) << address;
    EXPECT_EQ(ReadinessOf(address), Readiness::kReady);
    EXPECT_EQ(network_.made(address), 2);
  }
  EXPECT_EQ(OpenOf(1), 40u) << "their calls may end";
  Pass(absl::Seconds(3));
  EXPECT_EQ(OpenOf(1), 0u);
  for (const std::string& address : all) {
    EXPECT_EQ(network_.broken(address), 0);
  }
}

TEST_F(RenewalTest, CallsThatDoNotEndAreEndedInFiveSeconds) {
  settings_.options.drain_timeout = absl::Hours(1);
  Connect({"a:1"});
  const cluster::LiveEndpointPtr old = Endpoint("a:1");
  Call(old, kUrgentLasts + absl::Milliseconds(200));
  Rotate(2, 2);
  Pass(kUrgentLasts - absl::Milliseconds(100));
  EXPECT_TRUE(cut_off_.empty());
  EXPECT_EQ(network_.broken("a:1"), 0);
  Pass(absl::Milliseconds(220));
  ASSERT_FALSE(cut_off_.empty());
  EXPECT_EQ(causes_.front(), LiveStreams::Cause::kWithdrawn);
  EXPECT_GE(network_.broken("a:1"), 1);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  Pass(absl::Milliseconds(300));
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(RenewalTest, WhatCannotBeReplacedGoesAllTheSame) {
  for (const bool refuses : {false, true}) {
    const std::string address = refuses ? "r:1" : "h:1";
    settings_.secrets = Generation(refuses ? 3 : 1, 0, spread_);
    Connect({address});
    answers_.clear();
    if (refuses) refuses_.insert(address);
    const cluster::LiveEndpointPtr old = Endpoint(address);
    Call(old, absl::Seconds(8));
    Rotate(refuses ? 4 : 2, refuses ? 4 : 2);
    Pass(kUrgentLasts - absl::Milliseconds(100));
    EXPECT_EQ(Endpoint(address), old) << "it serves until then";
    EXPECT_EQ(ReadinessOf(address), Readiness::kReady);
    Pass(absl::Milliseconds(200));
    EXPECT_NE(Endpoint(address), old);
    EXPECT_NE(ReadinessOf(address), Readiness::kReady);
    EXPECT_TRUE(old->closed());
    EXPECT_GE(network_.broken(address), 1);
    Pass(absl::Seconds(4));
    EXPECT_EQ(OpenOf(refuses ? 3 : 1), 0u);
    EXPECT_LE(network_.made(address), 7) << "dials wait for their backoff";
    answers_.insert(address);
    refuses_.clear();
    Pass(absl::Seconds(12));
    EXPECT_EQ(ReadinessOf(address), Readiness::kReady);
    EXPECT_EQ(GenerationOf(address), refuses ? 4u : 2u);
  }
}

TEST_F(RenewalTest, OneThatDrainsAlreadyGoesInFiveSecondsToo) {
  spread_ = absl::ZeroDuration();
  settings_.options.drain_timeout = absl::Hours(1);
  Connect({"a:1", "b:1"});
  Call(Endpoint("a:1"), absl::Seconds(10));
  Call(Endpoint("b:1"), absl::Seconds(10));
  Rotate(2);
  Pass(absl::Seconds(1));
  Keep({"a:1"});
  EXPECT_EQ(OpenOf(1), 2u) << "one was replaced, the other one removed";
  Rotate(3, 2);
  Pass(kUrgentLasts - absl::Milliseconds(100));
  EXPECT_EQ(network_.broken("a:1") + network_.broken("b:1"), 0);
  Pass(absl::Milliseconds(200));
  EXPECT_GE(network_.broken("a:1"), 1);
  EXPECT_GE(network_.broken("b:1"), 1);
  EXPECT_EQ(GenerationOf("a:1"), 3u);
}

TEST_F(RenewalTest, OneThatLeavesUnderAStreamGoesInFiveSecondsToo) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  Advance(absl::Milliseconds(250));
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  Settle();
  Advance(absl::Seconds(30));
  const bool a_leaves = ReadinessOf("a:1") == Readiness::kIdle;
  const std::string leaving = a_leaves ? "a:1" : "b:1";
  const cluster::LiveEndpointPtr endpoint = Endpoint(leaving);
  ASSERT_TRUE(endpoint->Acquire());  // By an old picker.
  answers_ = {"a:1", "b:1"};
  Rotate(2, 2);
  Pass(kUrgentLasts - absl::Milliseconds(100));
  EXPECT_EQ(network_.broken(leaving), 0);
  Pass(absl::Milliseconds(200));
  EXPECT_GE(network_.broken(leaving), 1);
  endpoint->Release();
  Pass(absl::Seconds(1));
  EXPECT_EQ(OpenOf(1), 0u);
  EXPECT_EQ(network_.all_live(), 1);
}

TEST_F(RenewalTest, ASecondDialOfAWithdrawnGenerationIsGivenUp) {
  spread_ = absl::ZeroDuration();
  Connect({"a:1"});
  answers_.clear();
  Rotate(2);
  EXPECT_EQ(OpenOf(2), 1u);
  Rotate(3, 3);
  EXPECT_EQ(OpenOf(2), 0u);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  answers_.insert("a:1");
  Pass(absl::Seconds(2));
  EXPECT_EQ(GenerationOf("a:1"), 3u);
}

TEST_F(RenewalTest, WhoMissedTheGenerationThatWithdrewLearnsItFromTheNext) {
  Connect({"a:1"});
  Rotate(9, 4);
  Pass(absl::Seconds(2));
  EXPECT_EQ(GenerationOf("a:1"), 9u);
  EXPECT_EQ(OpenOf(1), 0u);
}

TEST_F(RenewalTest, AWithdrawalOfWhatIsNotUsedIsARenewal) {
  Connect({"a:1"});
  Rotate(5, 1);
  Pass(absl::Seconds(31));
  EXPECT_EQ(GenerationOf("a:1"), 5u);
  EXPECT_EQ(network_.broken("a:1"), 0);
}

// --- Expiry

TEST_F(RenewalTest, AConnectionWhosePeerExpiresIsReplacedThen) {
  Connect({"a:1"});
  network_.Expires("a:1",
                   control_.clock.Now() + kWallIsAhead + absl::Seconds(10));
  Call(Endpoint("a:1"), absl::Minutes(1));
  Pass(absl::Milliseconds(9900));
  EXPECT_EQ(network_.made("a:1"), 1);
  Pass(absl::Milliseconds(2100));
  EXPECT_EQ(network_.made("a:1"), 2) << "with the same generation";
  EXPECT_EQ(connected_.size(), 1u);
  EXPECT_EQ(network_.broken("a:1"), 0);
  Pass(absl::Milliseconds(2300));
  EXPECT_EQ(network_.broken("a:1"), 0);
  Pass(absl::Milliseconds(300));
  EXPECT_GE(network_.broken("a:1"), 1);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  Pass(absl::Hours(1) / 60);
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(RenewalTest, APeerThatExpiresWhileItDrainsIsGoneFiveSecondsLater) {
  spread_ = absl::ZeroDuration();
  settings_.options.drain_timeout = absl::Hours(1);
  Connect({"a:1"});
  network_.Expires("a:1",
                   control_.clock.Now() + kWallIsAhead + absl::Seconds(10));
  control_.loop.Run();
  Call(Endpoint("a:1"), absl::Minutes(1));
  Rotate(2);
  Pass(absl::Milliseconds(14400));
  EXPECT_EQ(network_.broken("a:1"), 0);
  Pass(absl::Milliseconds(400));
  EXPECT_GE(network_.broken("a:1"), 1);
  EXPECT_EQ(network_.made("a:1"), 2);
}

TEST_F(RenewalTest, TheEarliestExpiryCounts) {
  Connect({"a:1"});
  const absl::Time wall = control_.clock.Now() + kWallIsAhead;
  network_.Expires("a:1", wall + absl::Seconds(10));
  network_.Expires("a:1", wall + absl::Hours(10));
  network_.Expires("a:1", absl::InfiniteFuture());
  Pass(absl::Seconds(12));
  EXPECT_EQ(network_.made("a:1"), 2);
}

TEST_F(RenewalTest, WhatIsSaidOfAConnectionThatIsGoneDoesNothing) {
  Connect({"a:1"});
  Keep({});
  network_.Expires("a:1", absl::InfinitePast());
  control_.loop.Run();
  connections_.reset();
  control_.owner.reset();
  network_.Expires("a:1", absl::InfinitePast());
  control_.loop.Run();
  EXPECT_EQ(network_.all_live(), 0);
}

// --- No identity

TEST_F(RenewalTest, NothingIsDialledBeforeThereIsAnIdentity) {
  settings_.secrets = std::make_shared<Secrets>();
  Begin({"a:1", "b:1"});
  connections_->Want();
  connections_->Ask();
  EXPECT_EQ(in_vain_, 1);
  Pass(absl::Seconds(5));
  EXPECT_EQ(network_.made("a:1") + network_.made("b:1"), 0);
  Rotate(1);
  EXPECT_EQ(network_.made("a:1"), 1);
  EXPECT_EQ(network_.made("b:1"), 1);
  EXPECT_TRUE(replaced_.empty());
}

TEST_F(RenewalTest, AnIdentityThatIsTakenAwayLeavesNothingConnected) {
  Connect({"a:1"});
  auto none = std::make_shared<Secrets>();
  none->generation = none->withdrawn_before = 2;
  settings_.secrets = none;
  ASSERT_TRUE(connections_->Configure(settings_));
  connections_->Renew();
  Pass(kUrgentLasts - absl::Milliseconds(100));
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  Pass(absl::Milliseconds(200));
  EXPECT_NE(ReadinessOf("a:1"), Readiness::kReady);
  EXPECT_EQ(network_.all_live(), 0);
  EXPECT_EQ(network_.made("a:1"), 1);
  Rotate(3);
  Pass(absl::Milliseconds(100));
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
}

}  // namespace
}  // namespace mesh::service
