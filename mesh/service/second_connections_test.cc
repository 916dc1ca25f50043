#include <cmath>
#include <memory>

#include "gtest/gtest.h"
#include "mesh/service/connections_test_util.h"

// A second connection beside one that is silent, or was made with other
// settings.

namespace mesh::service {
namespace {

// --- A connection that says nothing

class SilentConnectionTest : public ConnectionsTest {
 protected:
  SilentConnectionTest() {
    Begin({"a:1"});
    Set("a:1", GRPC_CHANNEL_READY);
    first_ = Endpoint("a:1");
    EXPECT_TRUE(first_->Acquire());  // A call that hangs.
    first_->set_health(cluster::Health::kSuspect, 255);
    connections_->OnHealthChange();
    EXPECT_EQ(network_.live("a:1"), 2);
    EXPECT_EQ(Endpoint("a:1"), first_) << "until the second one is connected";
    EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  }

  // The second one, once it is connected.
  ConnectedEndpoint* Second() {
    Set("a:1", GRPC_CHANNEL_READY);
    connections_->RetireReplaced();
    EXPECT_NE(Endpoint("a:1"), first_);
    return ConnectedEndpoint::Of(Endpoint("a:1").get());
  }
  void Answer(cluster::LiveEndpoint* endpoint) {
    endpoint->mutable_counters().CountEnd(absl::StatusCode::kOk, false);
  }

  cluster::LiveEndpointPtr first_;
};

TEST_F(SilentConnectionTest, TheSecondTakesItsPlaceWhenItIsConnected) {
  ConnectedEndpoint* const second = Second();
  EXPECT_EQ(replaced_, (Addresses{"a:1"}));
  EXPECT_EQ(connected_, (Addresses{"a:1", "a:1"}));
  EXPECT_EQ(second->readiness(), Readiness::kReady);
  EXPECT_EQ(second->in_flight(), 0) << "calls are counted by connection";
  EXPECT_TRUE(first_->closed());
  EXPECT_TRUE(closed_.empty()) << "it may yet answer its probe";
  first_->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 1) << "it is empty";
}

TEST_F(SilentConnectionTest, TheSecondCountsTheCallsOfTheFirst) {
  ConnectedEndpoint* const second = Second();
  EXPECT_EQ(second->in_flight_before(), 1);
  ASSERT_TRUE(second->Acquire());
  second->set_health(cluster::Health::kSuspect, 255);
  connections_->OnHealthChange();
  Advance(absl::Milliseconds(1201));
  const ConnectedEndpoint* const third = Second();
  ASSERT_NE(third, second);
  EXPECT_EQ(third->in_flight_before(), 2);
  first_->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(third->in_flight_before(), 1);
  second->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(third->in_flight_before(), 0);
}

// It accepts connections, and whatever serves it hangs.
TEST_F(SilentConnectionTest, WhoNeverAnswersIsNotConnectedToAgainAndAgain) {
  ConnectedEndpoint* last = Second();
  for (int i = 0; i < 4; ++i) {
    last->set_health(cluster::Health::kSuspect, 255);
    connections_->OnHealthChange();
    const int made = network_.made("a:1");
    // 1 s, and 1.6 times as long each time.
    const absl::Duration backoff = absl::Seconds(1) * std::pow(1.6, i);
    Advance(0.79 * backoff);
    EXPECT_EQ(network_.made("a:1"), made) << i;
    closed_.clear();
    Advance(0.42 * backoff);
    EXPECT_EQ(network_.made("a:1"), made + 1) << i;
    last = Second();
    EXPECT_EQ(closed_, (Addresses{"a:1"})) << "the probe of the one before";
    EXPECT_LE(network_.live("a:1"), 3);
  }
  Answer(last);
  last->set_health(cluster::Health::kSuspect, 255);
  connections_->OnHealthChange();
  Advance(absl::Milliseconds(1201));
  EXPECT_NE(last->second(), nullptr) << "one that answers begins anew";
  first_->Release();
}

TEST_F(SilentConnectionTest, StreamsOnItAreLeftAloneWhileItMayBeAlive) {
  Second();
  for (int i = 0; i < 40; ++i) {
    Advance(absl::Milliseconds(500));
    network_.received["a:1"] += 10;
  }
  EXPECT_TRUE(cut_off_.empty()) << "drain_timeout is 10 s";
  first_->Release();
}

TEST_F(SilentConnectionTest, ItIsDeadWhenTheOtherOneAnswersAndItDoesNot) {
  ConnectedEndpoint* const second = Second();
  Advance(absl::Seconds(5));
  EXPECT_EQ(network_.broken("a:1"), 0) << "nobody has answered";
  Answer(second);
  Advance(absl::Milliseconds(900));
  EXPECT_EQ(network_.broken("a:1"), 0);
  Advance(absl::Milliseconds(300));
  EXPECT_EQ(network_.broken("a:1"), 1);
  EXPECT_EQ(closed_, (Addresses{"a:1"}));
  first_->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(SilentConnectionTest, OneThatAnswersLaterIsNotDead) {
  Answer(Second());
  for (int i = 0; i < 10; ++i) {
    Advance(absl::Milliseconds(900));
    Answer(first_.get());
  }
  EXPECT_EQ(network_.broken("a:1"), 0);
  first_->Release();
}

TEST_F(SilentConnectionTest, OneWhoseStreamsMoveIsNotDead) {
  Answer(Second());
  for (int i = 0; i < 10; ++i) {
    Advance(absl::Milliseconds(900));
    network_.received["a:1"] += 100;
  }
  EXPECT_EQ(network_.broken("a:1"), 0);
  first_->Release();
}

TEST_F(SilentConnectionTest, OneThatHasBroughtSomethingSinceIsNotDead) {
  ConnectedEndpoint* const second = Second();
  network_.received["a:1"] += 100;  // The answer to its probe.
  Advance(absl::Milliseconds(200));
  Answer(second);
  Advance(absl::Seconds(10));
  EXPECT_EQ(network_.broken("a:1"), 0) << "its calls are long ones";
  first_->Release();
}

TEST_F(SilentConnectionTest, TheSecondMayBeSilentToo) {
  ConnectedEndpoint* const second = Second();
  EXPECT_TRUE(second->Acquire());
  second->set_health(cluster::Health::kSuspect, 255);
  connections_->OnHealthChange();
  EXPECT_EQ(network_.made("a:1"), 2) << "one dial a second";
  Advance(absl::Milliseconds(1201));
  EXPECT_EQ(network_.made("a:1"), 3);
  ConnectedEndpoint* const third = Second();
  ASSERT_NE(third, second);
  Answer(third);
  Advance(absl::Milliseconds(1200));
  EXPECT_EQ(network_.broken("a:1"), 2) << "both are dead";
  first_->Release();
  second->Release();
}

TEST_F(SilentConnectionTest, TheSecondIsGivenUpWhenTheFirstAnswers) {
  first_->set_health(cluster::Health::kProbing, 1);
  connections_->OnHealthChange();
  EXPECT_EQ(network_.live("a:1"), 1);
  Advance(absl::Seconds(10));
  EXPECT_EQ(Endpoint("a:1"), first_);
  first_->set_health(cluster::Health::kSuspect, 255);
  connections_->OnHealthChange();
  EXPECT_EQ(network_.live("a:1"), 2) << "and it may be silent again";
  first_->Release();
}

TEST_F(SilentConnectionTest, ASecondDialThatFailsIsRepeated) {
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  connections_->Replan();
  EXPECT_EQ(network_.live("a:1"), 1);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  Advance(absl::Milliseconds(1200));
  EXPECT_EQ(network_.made("a:1"), 3);
  Second();
  first_->Release();
}

TEST_F(SilentConnectionTest, AnEndpointThatGoesTakesBothWithIt) {
  Keep({});
  first_->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.all_live(), 0);
}

// --- Other settings

TEST_F(ConnectionsTest, OthersSettingsAreConnectedWithBeforeTheOldOnesGo) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto old = Endpoint("a:1");
  ASSERT_TRUE(old->Acquire());
  settings_.authority = "other.example";
  ASSERT_TRUE(connections_->Configure(settings_));
  connections_->Renew();
  EXPECT_EQ(Endpoint("a:1"), old);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kReady);
  EXPECT_EQ(network_.live("a:1"), 2);
  EXPECT_EQ(network_.last_settings().authority, "other.example");
  Set("a:1", GRPC_CHANNEL_READY);
  connections_->RetireReplaced();
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_TRUE(old->closed());
  EXPECT_EQ(closed_, (Addresses{"a:1"}));
  Advance(absl::Seconds(5));
  EXPECT_EQ(network_.live("a:1"), 2) << "it drains";
  EXPECT_EQ(network_.broken("a:1"), 0);
  old->Release();
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(network_.live("a:1"), 1);
}

TEST_F(ConnectionsTest, OneThatIsNotConnectedIsMadeAnewAtOnce) {
  Begin({"a:1"});
  const auto old = Endpoint("a:1");
  settings_.authority = "other.example";
  connections_->Configure(settings_);
  connections_->Renew();
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_EQ(replaced_, (Addresses{"a:1"})) << "what is known of it is kept";
  connections_->RetireReplaced();
  EXPECT_EQ(network_.live("a:1"), 1);
  EXPECT_EQ(network_.last_settings().authority, "other.example");
}

TEST_F(ConnectionsTest, AnOutdatedConnectionThatIsLostGivesItsPlaceUp) {
  Begin({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const auto old = Endpoint("a:1");
  const auto first = network_.newest("a:1");
  settings_.authority = "other.example";
  connections_->Configure(settings_);
  connections_->Renew();
  first(GRPC_CHANNEL_IDLE);
  control_.loop.Run();
  EXPECT_NE(Endpoint("a:1"), old);
  EXPECT_EQ(ReadinessOf("a:1"), Readiness::kConnecting);
  connections_->RetireReplaced();
  EXPECT_EQ(network_.live("a:1"), 1);
}

}  // namespace
}  // namespace mesh::service
