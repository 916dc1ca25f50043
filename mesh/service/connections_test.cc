#include "mesh/service/connections.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/connections_test_util.h"

namespace mesh::service {
namespace {

// --- Connecting

TEST_F(ConnectionsTest, ConnectsAhead) {
  settings_.options.ahead = 2;
  Begin({"a:1", "b:1", "c:1"});
  EXPECT_EQ(network_.all_live(), 2);
  int connecting = 0;
  for (const cluster::Member& member : connections_->members()) {
    if (member.live->readiness() == Readiness::kConnecting) ++connecting;
  }
  EXPECT_EQ(connecting, 2);
  EXPECT_GT(polls_, 0);
  EXPECT_GT(changes_, 0);
}

TEST_F(ConnectionsTest, ConnectsWithTheSettingsOfNow) {
  settings_.authority = "cart.example";
  Begin({"a:1"});
  EXPECT_EQ(network_.last_settings().authority, "cart.example");
  EXPECT_FALSE(connections_->Configure(settings_));
  settings_.authority = "other.example";
  EXPECT_TRUE(connections_->Configure(settings_));
}

TEST_F(ConnectionsTest, TellsOfEachNewConnectionOnce) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  EXPECT_EQ(connected_, (Addresses{"a:1"}));
  Advance(absl::Seconds(1));
  Set("a:1", GRPC_CHANNEL_IDLE);
  connections_->Replan();
  control_.loop.Run();
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(connected_, (Addresses{"a:1", "a:1"}));
  EXPECT_EQ(network_.made("a:1"), 1) << "one connection an endpoint";
}

TEST_F(ConnectionsTest, WithNothingAheadItConnectsWhereOneIsWanted) {
  settings_.options.ahead = 0;
  Begin({"a:1", "b:1"});
  EXPECT_EQ(network_.all_live(), 0);
  connections_->Want();
  EXPECT_EQ(network_.all_live(), 1);
  connections_->Want();
  EXPECT_EQ(network_.all_live(), 1);
}

TEST_F(ConnectionsTest, WhatIsWantedBeforeThereIsAnEndpointIsRemembered) {
  settings_.options.ahead = 0;
  connections_->Configure(settings_);
  connections_->Want();
  connections_->Update(SetOf({"a:1"}));
  EXPECT_EQ(network_.all_live(), 1);
}

TEST_F(ConnectionsTest, AConnectionThatIsLostIsMadeAgain) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  Advance(absl::Seconds(1));
  Set("a:1", GRPC_CHANNEL_IDLE);
  EXPECT_EQ(lost_, 1);
  EXPECT_EQ(network_.dials("a:1"), 1) << "when it is due";
  connections_->Replan();
  EXPECT_EQ(network_.dials("a:1"), 2);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting);
  connections_->Replan();
  EXPECT_EQ(network_.dials("a:1"), 2) << "once";
}

TEST_F(ConnectionsTest, AnotherEndpointTakesThePlaceOfOneThatFails) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  const std::string first = network_.live("a:1") == 1 ? "a:1" : "b:1";
  const std::string second = first == "a:1" ? "b:1" : "a:1";
  Set(first, GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(ReadinessOf(first), Readiness::kFailed);
  EXPECT_EQ(lost_, 1);
  connections_->Replan();
  EXPECT_EQ(network_.live(second), 1);
  EXPECT_EQ(network_.dials(first), 1);
}

TEST_F(ConnectionsTest, OneThatFailsIsClosedAndSaysWhy) {
  Begin({"a:1"});
  const auto endpoint = ConnectedEndpoint::Of(Endpoint("a:1").get());
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kFailed);
  EXPECT_EQ(endpoint->connection(), nullptr);
  EXPECT_EQ(network_.live("a:1"), 0);
  EXPECT_EQ(endpoint->Failure().message(),
            "failed to connect to all addresses");
}

TEST_F(ConnectionsTest, OneThatFailsIsKeptWhileACallMayKnowIt) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->RetireReplaced();
  EXPECT_EQ(network_.live("a:1"), 1);
  endpoint->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 0);
}

TEST_F(ConnectionsTest, OneThatFailsIsDialledAgainAfterABackoffThatGrows) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  Advance(absl::Milliseconds(799));
  EXPECT_EQ(network_.made("a:1"), 1);
  for (int i = 0; i < 41 && network_.made("a:1") == 1; ++i) {
    Advance(absl::Milliseconds(10));
  }
  EXPECT_EQ(network_.made("a:1"), 2) << "another channel";
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kFailed)
      << "calls need not wait for it";
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  Advance(absl::Milliseconds(1269));
  EXPECT_EQ(network_.made("a:1"), 2);
  Advance(absl::Milliseconds(652));
  EXPECT_EQ(network_.made("a:1"), 3);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
}

TEST_F(ConnectionsTest, WhileADialHangsTheNextOneIsDialled) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  EXPECT_EQ(network_.all_live(), 1);
  Advance(absl::Milliseconds(249));
  EXPECT_EQ(network_.all_live(), 1);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(network_.all_live(), 2);
}

TEST_F(ConnectionsTest, BackupsAreDialledWhenThePrimaryHangsOrFails) {
  settings_.options.ahead = 1;
  cluster::EndpointSet set = SetOf({"a:1", "b:1", "c:1"});
  set.endpoints[1].priority = 1;
  set.endpoints[2].priority = 2;
  connections_->Configure(settings_);
  connections_->Update(set);
  Advance(absl::Milliseconds(249));
  EXPECT_EQ(network_.live("b:1"), 0);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(network_.live("b:1"), 1);
  EXPECT_EQ(network_.live("c:1"), 0);
  Set("b:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(network_.live("c:1"), 1);
}

TEST_F(ConnectionsTest, WithNothingAheadOneThatIsLostIsNotDialledUnasked) {
  settings_.options.ahead = 0;
  Begin({"a:1"});
  connections_->Want();
  Set("a:1", GRPC_CHANNEL_READY);
  connections_->Replan();
  Advance(absl::Minutes(5));
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady) << "the one in use is kept";
  Set("a:1", GRPC_CHANNEL_IDLE);
  connections_->Replan();
  Advance(absl::Seconds(1));
  EXPECT_EQ(network_.dials("a:1"), 1);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kIdle);
  connections_->Want();
  EXPECT_EQ(network_.dials("a:1"), 2);
}

TEST_F(ConnectionsTest, WithNothingAheadOneThatFailsIsWantedUntilItIsReady) {
  settings_.options.ahead = 0;
  Begin({"a:1"});
  connections_->Want();
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  Advance(absl::Milliseconds(1200));
  EXPECT_EQ(network_.made("a:1"), 2);
}

// --- One whose time to connect is over

TEST_F(ConnectionsTest, OneThatDoesNotAnswerIsKeptWhereAPlaceIsFree) {
  Begin({"a:1"});
  Advance(absl::Seconds(5));
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kFailed);
  EXPECT_EQ(network_.live("a:1"), 1);
  EXPECT_EQ(network_.resets("a:1"), 1) << "gRPC dials it again";
  Advance(absl::Seconds(5));
  EXPECT_EQ(network_.resets("a:1"), 2) << "again after that time";
  EXPECT_EQ(network_.made("a:1"), 1);
  EXPECT_EQ(lost_, 2);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
}

TEST_F(ConnectionsTest, OneThatDoesNotAnswerIsClosedWhereNoPlaceIsFree) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  Advance(absl::Milliseconds(250));
  Set("a:1", GRPC_CHANNEL_READY);
  connections_->Replan();
  Advance(absl::Milliseconds(4750));
  Set("b:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(network_.live("b:1"), 0);
  EXPECT_EQ(ReadinessOf("b:1"), Readiness::kFailed);
}

// --- Dials that calls ask for

TEST_F(ConnectionsTest, WhoAsksHasTheEndpointDialledAtOnce) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Ask();
  EXPECT_EQ(network_.made("a:1"), 2);
  EXPECT_TRUE(connections_->asking());
  EXPECT_EQ(in_vain_, 0);
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(in_vain_, 1);
  EXPECT_FALSE(connections_->asking());
  EXPECT_EQ(network_.made("a:1"), 2);
}

TEST_F(ConnectionsTest, WhoAsksWhenOneIsConnectedIsTold) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const int changes = changes_;
  connections_->Ask();
  EXPECT_FALSE(connections_->asking());
  EXPECT_GT(changes_, changes);
  EXPECT_EQ(in_vain_, 0);
}

TEST_F(ConnectionsTest, AllAreDialledOneAfterTheOtherBeforeItIsInVain) {
  Begin({"a:1", "b:1", "c:1"});
  for (const char* one : {"a:1", "b:1", "c:1"}) {
    Set(one, GRPC_CHANNEL_TRANSIENT_FAILURE);
  }
  connections_->Ask();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(network_.all_live(), 1);
    EXPECT_EQ(in_vain_, 0);
    for (const char* one : {"a:1", "b:1", "c:1"}) {
      Set(one, GRPC_CHANNEL_TRANSIENT_FAILURE);
    }
    connections_->Replan();
  }
  EXPECT_EQ(in_vain_, 1);
}

// --- What is not wanted any more

TEST_F(ConnectionsTest, SurplusIsClosedHalfAMinuteAfterItsLastCall) {
  settings_.options.ahead = 2;
  Begin({"a:1", "b:1", "c:1"});
  Advance(absl::Milliseconds(250));  // The third is dialled, too.
  for (const char* one : {"a:1", "b:1", "c:1"}) Set(one, GRPC_CHANNEL_READY);
  connections_->Replan();
  EXPECT_EQ(network_.all_live(), 3);
  Advance(absl::Seconds(29));
  EXPECT_EQ(network_.all_live(), 3);
  Advance(absl::Seconds(2));
  EXPECT_EQ(network_.all_live(), 2);
  Advance(absl::Minutes(5));
  EXPECT_EQ(network_.all_live(), 2);
}

TEST_F(ConnectionsTest, SurplusIsNotClosedUnderACallThatHasJustPickedIt) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  Advance(absl::Milliseconds(250));
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  connections_->Replan();
  Advance(absl::Seconds(30));
  const bool a_leaves = ReadinessOf("a:1") == Readiness::kIdle;
  const auto leaving =
      ConnectedEndpoint::Of(Endpoint(a_leaves ? "a:1" : "b:1").get());
  EXPECT_EQ(leaving->readiness(), Readiness::kIdle) << "no new picker has it";
  ASSERT_TRUE(leaving->Acquire());  // By an old one.
  Advance(absl::Seconds(10));
  EXPECT_NE(leaving->connection(), nullptr);
  leaving->Release();
  Advance(absl::Seconds(1));
  EXPECT_EQ(leaving->connection(), nullptr);
  EXPECT_EQ(network_.all_live(), 1);
}

TEST_F(ConnectionsTest, OneThatIsWantedAgainAsItLeavesStays) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  Advance(absl::Milliseconds(250));
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  connections_->Replan();
  Advance(absl::Seconds(30));
  const bool a_leaves = ReadinessOf("a:1") == Readiness::kIdle;
  const std::string leaves = a_leaves ? "a:1" : "b:1";
  Set(a_leaves ? "b:1" : "a:1", GRPC_CHANNEL_IDLE);
  Keep({leaves});
  EXPECT_EQ(ReadinessOf(leaves), Readiness::kReady);
  Advance(absl::Seconds(1));
  EXPECT_EQ(network_.live(leaves), 1);
}

TEST_F(ConnectionsTest, DialsThatFailLeaveOneChannelBesideAnOpenStream) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto first = Endpoint("a:1");
  ASSERT_TRUE(first->Acquire());
  ++first->mutable_counters().ended[0];
  first->set_health(cluster::Health::kEjected, 0);
  Set("a:1", GRPC_CHANNEL_IDLE);
  for (int i = 0; i < 6; ++i) {
    connections_->Replan();
    connections_->RetireReplaced();
    EXPECT_LE(network_.made("a:1") - closes_, 2) << i;
    EXPECT_EQ(network_.dials("a:1"), 2 + i);
    Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
    EXPECT_EQ(ReadinessOf("a:1"), Readiness::kFailed);
    connections_->Replan();
    for (int j = 0; j < 300 && network_.dials("a:1") < 3 + i; ++j) {
      Advance(absl::Milliseconds(100));
    }
  }
  EXPECT_EQ(replaced_, (Addresses{"a:1"})) << "once";
  EXPECT_EQ(first->in_flight(), 1);
  const auto* const now = ConnectedEndpoint::Of(Endpoint("a:1").get());
  EXPECT_EQ(now->Failure().message(), "failed to connect to all addresses");
  first->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.made("a:1") - closes_, 1);
}

TEST_F(ConnectionsTest, AnOutdatedConnectionThatIsNotWantedIsGivenUp) {
  settings_.options.ahead = 1;
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  settings_.authority = "other.example";
  connections_->Configure(settings_);
  connections_->Update(SetOf({"a:1", "b:1"}));
  // Both are connected, and one is enough.
  const auto old = Endpoint("a:1");
  old->set_health(cluster::Health::kEjected, 0);
  connections_->OnHealthChange();
  Set("b:1", GRPC_CHANNEL_READY);
  old->set_health(cluster::Health::kHealthy, 255);
  connections_->Renew();
  for (const char* address : {"a:1", "b:1"}) {
    const auto endpoint = ConnectedEndpoint::Of(Endpoint(address).get());
    if (endpoint->second() != nullptr) Set(address, GRPC_CHANNEL_READY);
  }
  connections_->RetireReplaced();
  Advance(absl::Minutes(2));
  connections_->RetireReplaced();
  for (const cluster::Member& member : connections_->members()) {
    EXPECT_FALSE(ConnectedEndpoint::Of(member.live.get())->outdated());
  }
}

// --- Calls that ask

TEST_F(ConnectionsTest, WhoAsksAgainInVainIsToldSoWithoutAPlan) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  connections_->Ask();
  EXPECT_EQ(network_.dials("a:1"), 2);
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(in_vain_, 1);
  for (int i = 2; i < 10; ++i) {
    connections_->Ask();
    EXPECT_EQ(in_vain_, i);
  }
  EXPECT_EQ(network_.dials("a:1"), 2);
  EXPECT_FALSE(connections_->asking());
  control_.clock.Advance(absl::Milliseconds(999));
  connections_->Ask();
  EXPECT_EQ(network_.dials("a:1"), 2);
  control_.clock.Advance(absl::Milliseconds(1));
  connections_->Ask();
  EXPECT_EQ(network_.dials("a:1"), 3);
}

TEST_F(ConnectionsTest, AConnectionThatWasHadLetsTheNextOneAskAtOnce) {
  for (const bool had : {true, false}) {
    const std::string address = had ? "a:1" : "b:1";
    Begin({address});
    Set(address, GRPC_CHANNEL_TRANSIENT_FAILURE);
    connections_->Replan();
    connections_->Ask();
    Set(address, GRPC_CHANNEL_READY);
    connections_->Replan();
    if (had) ++Endpoint(address)->mutable_counters().ended[0];
    Set(address, GRPC_CHANNEL_IDLE);
    connections_->Replan();
    Set(address, GRPC_CHANNEL_TRANSIENT_FAILURE);
    connections_->Replan();
    const int made = network_.made(address);
    connections_->Ask();
    EXPECT_EQ(network_.made(address), had ? made + 1 : made);
  }
}

TEST_F(ConnectionsTest, WhoAsksIsHeardThoughGrpcDialsUnseen) {
  settings_.options.connect_timeout = absl::Seconds(5);
  Begin({"a:1"});
  Advance(absl::Seconds(5));
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);  // It ran out of time.
  for (int i = 0; i < 100 && network_.resets("a:1") == 0; ++i) {
    connections_->Replan();
    Advance(absl::Milliseconds(100));
  }
  EXPECT_EQ(network_.made("a:1"), 1);
  Advance(absl::Milliseconds(100));
  connections_->Ask();
  EXPECT_EQ(network_.made("a:1"), 2) << "what becomes of it will be told";
  EXPECT_EQ(in_vain_, 0);
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(in_vain_, 1);
}

// --- A connection that is lost at once

TEST_F(ConnectionsTest, OneThatIsLostAtOnceWaitsForABackoff) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  Set("a:1", GRPC_CHANNEL_IDLE);
  connections_->Replan();
  EXPECT_EQ(network_.dials("a:1"), 1);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting) << "calls wait for it";
  Advance(absl::Milliseconds(799));
  EXPECT_EQ(network_.dials("a:1"), 1);
  Advance(absl::Milliseconds(402));
  EXPECT_EQ(network_.dials("a:1"), 2);
}

TEST_F(ConnectionsTest, OneThatIsLostAtOnceAgainHasFailed) {
  Begin({"a:1"});
  for (int i = 0; i < 2; ++i) {
    Set("a:1", GRPC_CHANNEL_READY);
    Set("a:1", GRPC_CHANNEL_IDLE);
    connections_->Replan();
    EXPECT_EQ(ReadinessOf("a:1"),
              i == 0 ? Readiness::kConnecting : Readiness::kFailed);
    while (network_.dials("a:1") < 2) Advance(absl::Milliseconds(50));
  }
  EXPECT_EQ(network_.dials("a:1"), 2);
  Advance(absl::Milliseconds(1921));
  EXPECT_EQ(network_.dials("a:1"), 3);
}

TEST_F(ConnectionsTest, OneOverWhichACallWentWellIsNotLostAtOnce) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  ++Endpoint("a:1")->mutable_counters().ended[0];
  Set("a:1", GRPC_CHANNEL_IDLE);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kIdle);
  connections_->Replan();
  EXPECT_EQ(network_.dials("a:1"), 2);
}

TEST_F(ConnectionsTest, OneThatIsLostAtOnceAndThenRemovedIsNotDialled) {
  Begin({"a:1", "b:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Set("a:1", GRPC_CHANNEL_IDLE);
  Keep({"b:1"});
  Advance(absl::Seconds(2));
  EXPECT_EQ(network_.dials("a:1"), 1);
  endpoint->Release();
}

TEST_F(ConnectionsTest, NoCallWakesOneThatIsLostAtOnce) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());  // A call runs on it.
  Set("a:1", GRPC_CHANNEL_IDLE);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting);
  Advance(absl::Milliseconds(799));
  EXPECT_EQ(network_.dials("a:1"), 1);
  EXPECT_EQ(closes_, 0);
  Advance(absl::Milliseconds(402));
  EXPECT_EQ(network_.made("a:1"), 2);
  connections_->RetireReplaced();
  endpoint->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(closes_, 1);
}

TEST_F(ConnectionsTest, AtOnceIsCountedFromWhenItWasConnected) {
  Begin({"a:1"});
  Advance(absl::Milliseconds(400));  // A handshake.
  Set("a:1", GRPC_CHANNEL_READY);
  Set("a:1", GRPC_CHANNEL_IDLE);
  connections_->Replan();
  EXPECT_EQ(network_.dials("a:1"), 1);
}

TEST_F(ConnectionsTest, OneThatACallHasWokenAlreadyIsLostAllTheSame) {
  for (const auto now : {GRPC_CHANNEL_CONNECTING, GRPC_CHANNEL_READY}) {
    const std::string address = now == GRPC_CHANNEL_READY ? "a:1" : "b:1";
    Begin({address});
    Set(address, GRPC_CHANNEL_READY);
    network_.Set(address, GRPC_CHANNEL_IDLE);
    Set(address, now);
    EXPECT_EQ(ReadinessOf(address), Readiness::kConnecting);
    Advance(absl::Milliseconds(799));
    EXPECT_EQ(network_.dials(address), 1);
    Advance(absl::Milliseconds(402));
    EXPECT_EQ(network_.made(address), 2);
  }
}

// --- Members

TEST_F(ConnectionsTest, AnEndpointThatStaysKeepsItsConnection) {
  Begin({"a:1", "b:1"});
  const auto stays = Endpoint("a:1");
  Keep({"a:1", "c:1"});
  EXPECT_EQ(Endpoint("a:1"), stays);
  EXPECT_EQ(network_.made("a:1"), 1);
  EXPECT_EQ(network_.live("b:1"), 0);
  EXPECT_EQ(network_.live("c:1"), 1);
  EXPECT_EQ(closed_, (Addresses{"b:1"}));
}

TEST_F(ConnectionsTest, ASetThatChangesNothingDialsNothing) {
  settings_.options.ahead = 1;
  Begin({"a:1", "b:1"});
  EXPECT_FALSE(connections_->Update(SetOf({"a:1", "b:1"})).changed);
  EXPECT_EQ(network_.all_live(), 1);
}

TEST_F(ConnectionsTest, ForgottenMembersAreToBeRetired) {
  Begin({"a:1"});
  const auto old = Endpoint("a:1");
  const std::vector<cluster::LiveEndpointPtr> gone = connections_->Forget();
  EXPECT_TRUE(connections_->members().empty());
  ASSERT_EQ(gone.size(), 1);
  EXPECT_EQ(gone[0], old);
  connections_->Update(SetOf({"a:1"}));
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_EQ(network_.live("a:1"), 2) << "calls end on the old connection";
  connections_->Retire(gone);
  EXPECT_EQ(network_.live("a:1"), 1);
}

// --- Retiring

TEST_F(ConnectionsTest, OneWithoutCallsIsDisconnectedAtOnce) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  Keep({});
  EXPECT_TRUE(endpoint->closed());
  EXPECT_EQ(network_.live("a:1"), 0);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ConnectionsTest, CallsEndBeforeItIsDisconnected) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Keep({});
  EXPECT_FALSE(endpoint->Acquire());
  Advance(absl::Seconds(1));
  EXPECT_EQ(network_.live("a:1"), 1);
  endpoint->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 0);
  EXPECT_EQ(control_.loop.timers(), 0);
  EXPECT_TRUE(cut_off_.empty());
}

TEST_F(ConnectionsTest, CallsThatDoNotEndAreCutOffAgainAndAgain) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Keep({});
  Advance(absl::Milliseconds(9900));
  EXPECT_TRUE(cut_off_.empty());
  Advance(absl::Milliseconds(200));
  EXPECT_EQ(cut_off_.size(), 2);
  EXPECT_EQ(network_.live("a:1"), 1) << "until it has ended";
  endpoint->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 0);
}

TEST_F(ConnectionsTest, OneThatComesBackWhileItDrainsIsAnother) {
  Begin({"a:1"});
  const auto old = Endpoint("a:1");
  ASSERT_TRUE(old->Acquire());
  Keep({});
  connections_->Update(SetOf({"a:1"}));
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_EQ(network_.live("a:1"), 2);
  old->Release();
  Advance(absl::Seconds(1));
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(ConnectionsTest, SomeThatAreRetiredLaterShareTheTimer) {
  Begin({"a:1", "b:1"});
  const auto a = Endpoint("a:1");
  const auto b = Endpoint("b:1");
  ASSERT_TRUE(a->Acquire());
  ASSERT_TRUE(b->Acquire());
  Keep({"b:1"});
  Advance(absl::Seconds(5));
  Keep({});
  EXPECT_EQ(control_.loop.timers(), 1);
  Advance(absl::Seconds(6));
  EXPECT_GT(cut_off_.size(), 0);
  for (const std::string& address : cut_off_) EXPECT_EQ(address, "a:1");
  a->Release();
  b->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.all_live(), 0);
}

TEST_F(ConnectionsTest, OneMayBeRetiredTwice) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Keep({});
  connections_->Retire({endpoint});
  endpoint->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.all_live(), 0);
  EXPECT_EQ(control_.loop.timers(), 0);
}

TEST_F(ConnectionsTest, ARetiredConnectionThatBreaksIsNoNews) {
  Begin({"a:1", "b:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto endpoint = Endpoint("a:1");
  ASSERT_TRUE(endpoint->Acquire());
  Keep({"b:1"});
  const int changes = changes_;
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(lost_, 0);
  EXPECT_EQ(changes_, changes);
  endpoint->Release();
}

// --- The end

TEST_F(ConnectionsTest, ANewsOfOneThatWasDisconnectedMeanwhileIsNone) {
  Begin({"a:1"});
  const auto endpoint = Endpoint("a:1");
  network_.Set("a:1", GRPC_CHANNEL_READY);  // Posted, and not yet looked at.
  Keep({});
  control_.loop.Run();
  EXPECT_TRUE(connected_.empty());
  EXPECT_EQ(endpoint->readiness(), Readiness::kConnecting);
}

TEST_F(ConnectionsTest, EndsAllConnections) {
  Begin({"a:1", "b:1"});
  const auto member = Endpoint("a:1");
  const auto retired = Endpoint("b:1");
  ASSERT_TRUE(retired->Acquire());
  Keep({"a:1"});
  connections_.reset();
  EXPECT_EQ(network_.all_live(), 0);
  EXPECT_TRUE(member->closed());
  EXPECT_EQ(control_.loop.timers(), 0);
  retired->Release();
}

TEST_F(ConnectionsTest, NewsThatComesWhenAllIsGoneIsNone) {
  Begin({"a:1"});
  network_.Set("a:1", GRPC_CHANNEL_READY);
  control_.owner.reset();
  connections_.reset();
  control_.loop.Advance(absl::Minutes(1));
  EXPECT_TRUE(connected_.empty());
}

}  // namespace
}  // namespace mesh::service
