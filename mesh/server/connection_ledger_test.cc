#include "mesh/server/connection_ledger.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/server/peer_trust.h"
#include "mesh/testing/fake_clock.h"

namespace mesh::server {
namespace {

using testing::FakeClock;

constexpr Wires kStrict = {true, false};
constexpr Wires kPermissive = {true, true};

// Believes the chains of `names`: their peers have these SPIFFE IDs.
std::shared_ptr<PeerTrust> Believe(std::map<std::string, std::string> names,
                                   absl::Time until = absl::InfiniteFuture()) {
  return std::make_shared<PeerTrust>(
      [names = std::move(names), until](const std::string& chain) {
        PeerVerdict verdict;
        const auto it = names.find(chain);
        if (it == names.end()) {
          verdict.status = absl::UnauthenticatedError("not believed");
        } else {
          verdict.peer.spiffe_id = it->second;
          verdict.until = until;
        }
        return verdict;
      });
}

// A ledger, and peers that call over connections of their own.
class LedgerTest : public ::testing::Test {
 protected:
  using Id = ConnectionLedger::Id;

  // The other end of a connection.
  struct Remote {
    Id id = 0;
    std::string name;
    std::string chain;  // Empty: plaintext.
    std::shared_ptr<int> context = std::make_shared<int>();
  };

  void Make(Wires wires, std::shared_ptr<PeerTrust> trust) {
    ledger_ = std::make_unique<ConnectionLedger>(wires, std::move(trust));
    ledger_->SetSooner([this] { ++sooner_; });
  }

  Remote Connect(const std::string& chain, const std::string& name) {
    Remote remote;
    remote.name = name;
    remote.chain = chain;
    remote.id =
        ledger_->Add(chain.empty() ? Wire::kPlaintext : Wire::kTls, name);
    return remote;
  }
  Remote Connect(const std::string& chain) {
    return Connect(chain, "ipv4:1.2.3.4:" + std::to_string(++port_));
  }

  // A call of `remote`: the ruling on it, and its caller if it was admitted.
  absl::Status Call(const Remote& remote) {
    const auto ruling = remote.chain.empty()
                            ? ledger_->RuleOnPlaintext(clock_.Now())
                            : ledger_->RuleOnTls(
                                  remote.context.get(),
                                  [&] { return remote.chain; }, clock_.Now());
    caller_ = nullptr;
    if (!ruling.status.ok()) return ruling.status;
    EXPECT_NE(ruling.peer, nullptr);
    caller_ = ledger_->Admitted(
        remote.context.get(),
        [&] {
          return ConnectionLedger::FirstCall{remote.name, remote.chain,
                                             remote.context};
        },
        clock_.Now());
    return absl::OkStatus();
  }

  // The connections to be shut at `after` from now on, and nothing earlier.
  std::vector<Id> ShutAfter(absl::Duration after) {
    clock_.Advance(after - absl::Milliseconds(1));
    EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
    clock_.Advance(absl::Milliseconds(1));
    return ledger_->LookAround(clock_.Now()).shut;
  }

  FakeClock clock_;
  std::unique_ptr<ConnectionLedger> ledger_;
  std::shared_ptr<Caller> caller_;  // Who made the last call. Null: none.
  int sooner_ = 0;
  int port_ = 0;
};

TEST_F(LedgerTest, ACallOfABelievedPeerHasItsName) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_NE(caller_, nullptr);
  EXPECT_EQ(caller_->peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_FALSE(caller_->peer->plaintext);
  EXPECT_FALSE(caller_->leaving);
}

TEST_F(LedgerTest, APeerThatIsNotBelievedIsUnauthenticated) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  const Remote other = Connect("other");
  EXPECT_EQ(Call(other).code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ledger_->counts().refused_unverified, 1u);
}

TEST_F(LedgerTest, AWireThatIsNotTakenIsNotAdded) {
  Make(kStrict, Believe({}));
  EXPECT_EQ(Connect("").id, 0u);
  EXPECT_NE(Connect("cart").id, 0u);
  Make({false, true}, Believe({}));
  EXPECT_NE(Connect("").id, 0u);
  EXPECT_EQ(Connect("cart").id, 0u);
}

TEST_F(LedgerTest, AVerdictIsAskedForOncePerConnectionAndTrust) {
  int asked = 0;
  const auto verify = [&](const std::string&) {
    ++asked;
    return PeerVerdict();
  };
  Make(kStrict, std::make_shared<PeerTrust>(verify));
  const Remote one = Connect("cart");
  const Remote two = Connect("cart");
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Call(one).ok());
    EXPECT_TRUE(Call(two).ok());
  }
  EXPECT_EQ(asked, 1) << "the same bytes";
  ledger_->SetTrust(std::make_shared<PeerTrust>(verify), false, clock_.Now());
  EXPECT_TRUE(Call(one).ok());
  EXPECT_TRUE(Call(two).ok());
  EXPECT_EQ(asked, 2);
}

TEST_F(LedgerTest, AWithdrawnPeerIsToldThenRefusedThenShut) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}, {"shop", "x"}}));
  const Remote cart = Connect("cart");
  const Remote shop = Connect("shop");
  ASSERT_TRUE(Call(shop).ok());
  ASSERT_TRUE(Call(cart).ok());
  const std::shared_ptr<Caller> old = caller_;
  ledger_->SetTrust(Believe({{"shop", "x"}}), true, clock_.Now());
  EXPECT_GE(sooner_, 1);
  EXPECT_TRUE(old->leaving) << "a call that runs is told at once";

  clock_.Advance(ConnectionLedger::kRefuseAfter - absl::Milliseconds(1));
  EXPECT_TRUE(Call(cart).ok());
  EXPECT_EQ(caller_->peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_TRUE(caller_->leaving);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Call(cart).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{cart.id});
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty()) << "once";

  ASSERT_TRUE(Call(shop).ok());
  EXPECT_FALSE(caller_->leaving);
}

TEST_F(LedgerTest, ANewConnectionOfAWithdrawnPeerIsRefusedAtOnce) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote old = Connect("cart");
  ASSERT_TRUE(Call(old).ok());
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  // It may be older than the withdrawal, so it may try another connection.
  const Remote young = Connect("cart");
  EXPECT_EQ(Call(young).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Call(old).ok()) << "known as an older one";
  clock_.Advance(ConnectionLedger::kShutAfter);
  EXPECT_EQ(Call(young).code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(LedgerTest, TheFirstCallOfAnIdleConnectionIsNotLostToAWithdrawal) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  const Remote idle = Connect("cart");
  ledger_->SetTrust(Believe({}), /*withdrawn=*/true, clock_.Now());
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(Call(idle).ok());
  ASSERT_NE(caller_, nullptr);
  EXPECT_EQ(caller_->peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_TRUE(caller_->leaving.load());
  // Its time began with the withdrawal, and not with the call.
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Call(idle).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{idle.id});
}

TEST_F(LedgerTest, ASecondWithdrawalDoesNotForgetTheFirst) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote idle = Connect("cart");
  ledger_->SetTrust(Believe({{"shop", "y"}}), true, clock_.Now());
  clock_.Advance(absl::Seconds(1));
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  ASSERT_TRUE(Call(idle).ok());
  EXPECT_EQ(caller_->peer->spiffe_id, "x");
  // Its time began with the first.
  EXPECT_EQ(ShutAfter(absl::Seconds(4)), std::vector<Id>{idle.id});
}

TEST_F(LedgerTest, AWithdrawalDuringAVerdictIsNotUndone) {
  bool during = false;
  const auto trust = std::make_shared<PeerTrust>([&](const std::string&) {
    if (std::exchange(during, false)) {
      ledger_->SetTrust(Believe({}), true, clock_.Now());
    }
    PeerVerdict verdict;
    verdict.peer.spiffe_id = "x";
    verdict.until = clock_.Now();  // It is asked for with each call.
    return verdict;
  });
  Make(kStrict, trust);
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  during = true;
  ASSERT_TRUE(Call(cart).ok()) << "it has time to leave";
  EXPECT_TRUE(caller_->leaving.load());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{cart.id});
}

TEST_F(LedgerTest, ANewerConnectionBesideAnIdleOneHasOneCallAtMost) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  Connect("cart");
  ledger_->SetTrust(Believe({}), /*withdrawn=*/true, clock_.Now());
  clock_.Advance(absl::Seconds(1));
  const Remote newer = Connect("cart");
  ASSERT_TRUE(Call(newer).ok());
  EXPECT_EQ(Call(newer).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{newer.id});
}

TEST_F(LedgerTest, AWithdrawalShutsWhatNeverMadeACall) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote silent = Connect("cart");
  const Remote late = Connect("cart");
  ledger_->SetTrust(Believe({{"cart", "x"}}), true, clock_.Now());
  EXPECT_TRUE(Call(late).ok());
  EXPECT_FALSE(caller_->leaving) << "it has said who it is";
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter),
            std::vector<Id>{silent.id});
}

TEST_F(LedgerTest, ARenewalShutsNothing) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote silent = Connect("cart");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ledger_->SetTrust(Believe({{"cart", "x"}}), false, clock_.Now());
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
  EXPECT_TRUE(Call(silent).ok());
}

TEST_F(LedgerTest, APeerThatIsBelievedAgainStays) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  clock_.Advance(absl::Seconds(3));
  EXPECT_TRUE(caller_->leaving);
  ledger_->SetTrust(Believe({{"cart", "x"}}), false, clock_.Now());
  EXPECT_FALSE(caller_->leaving);
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
  EXPECT_TRUE(Call(cart).ok());
}

TEST_F(LedgerTest, ALeafThatExpiresEndsItsConnectionWithoutACall) {
  const absl::Time end = clock_.Now() + absl::Seconds(60);
  bool expired = false;
  Make(kStrict, std::make_shared<PeerTrust>([&](const std::string&) {
         PeerVerdict verdict;
         verdict.until = end;
         if (expired) {
           verdict.until = absl::InfiniteFuture();
           verdict.status = absl::UnauthenticatedError("expired");
         }
         return verdict;
       }));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_EQ(sooner_, 1) << "the verdict's end is news";
  EXPECT_EQ(ledger_->LookAround(clock_.Now()).next, end);
  expired = true;
  clock_.Set(end);
  ConnectionLedger::Look look = ledger_->LookAround(clock_.Now());
  EXPECT_TRUE(look.shut.empty());
  EXPECT_EQ(look.next, end + ConnectionLedger::kShutAfter);
  EXPECT_TRUE(caller_->leaving);
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{cart.id});
}

TEST_F(LedgerTest, StrictEndsPlaintext) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  const Remote plain = Connect("");
  const Remote silent = Connect("");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_TRUE(Call(plain).ok());
  EXPECT_TRUE(caller_->peer->plaintext);
  const std::shared_ptr<Caller> old = caller_;
  ledger_->SetWires(kStrict, clock_.Now());
  EXPECT_TRUE(old->leaving);
  EXPECT_EQ(Connect("").id, 0u);
  clock_.Advance(absl::Seconds(3));
  EXPECT_TRUE(Call(plain).ok()) << "it has time to leave";
  EXPECT_TRUE(caller_->leaving);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Call(plain).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)),
            (std::vector<Id>{plain.id, silent.id}));
  EXPECT_TRUE(Call(cart).ok());
  EXPECT_FALSE(caller_->leaving);
}

TEST_F(LedgerTest, AModeThatComesBackInTimeEndsNothing) {
  Make(kPermissive, Believe({}));
  const Remote plain = Connect("");
  ASSERT_TRUE(Call(plain).ok());
  ledger_->SetWires(kStrict, clock_.Now());
  clock_.Advance(absl::Seconds(2));
  ledger_->SetWires(kStrict, clock_.Now());  // Not a new beginning.
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Call(plain).code(), absl::StatusCode::kUnavailable);
  ledger_->SetWires(kPermissive, clock_.Now());
  EXPECT_TRUE(Call(plain).ok());
  EXPECT_FALSE(caller_->leaving);
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
}

TEST_F(LedgerTest, APortWithoutTlsRefusesItFromTheStart) {
  Make({false, true}, Believe({{"cart", "x"}}));
  int context = 0;
  const auto ruling = ledger_->RuleOnTls(
      &context, [] { return std::string("cart"); }, clock_.Now());
  EXPECT_EQ(ruling.status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(LedgerTest, TheContextIsHeldUntilTheSocketIsGone) {
  Make(kStrict, Believe({{"cart", "x"}}));
  Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  const std::weak_ptr<int> context = cart.context;
  cart.context = nullptr;
  EXPECT_FALSE(context.expired()) << "its address cannot be another's";
  ledger_->Remove(cart.id);
  EXPECT_TRUE(context.expired());
  EXPECT_EQ(ledger_->counts().closed_before_call, 0u);
  ledger_->Remove(Connect("cart").id);
  EXPECT_EQ(ledger_->counts().closed_before_call, 1u);
}

TEST_F(LedgerTest, AnAddressThatComesBackIsTheNewConnections) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote gone = Connect("cart", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(gone).ok());
  const Remote next = Connect("shop", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(next).ok());
  EXPECT_EQ(caller_->peer->spiffe_id, "y");
  ledger_->Remove(gone.id);
  ledger_->SetTrust(Believe({{"cart", "x"}}), true, clock_.Now());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{next.id});
}

TEST_F(LedgerTest, ACallOfAnotherPortHasNoCaller) {
  Make(kPermissive, Believe({}));
  Connect("", "ipv4:1.2.3.4:5");
  Remote other;
  other.name = "ipv4:1.2.3.4:6";
  EXPECT_TRUE(Call(other).ok());
  EXPECT_EQ(caller_, nullptr);
}

TEST_F(LedgerTest, CountsTellWhatIsOpen) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  const Remote cart = Connect("cart");
  const Remote plain = Connect("");
  ASSERT_TRUE(Call(plain).ok());
  ledger_->SetWires(kStrict, clock_.Now());
  ConnectionLedger::Counts counts = ledger_->counts();
  EXPECT_EQ(counts.open_tls, 1u);
  EXPECT_EQ(counts.open_plaintext, 1u);
  EXPECT_EQ(counts.leaving, 1u);
  EXPECT_EQ(counts.calls_plaintext, 1u);
  ledger_->Remove(plain.id);
  counts = ledger_->counts();
  EXPECT_EQ(counts.open_plaintext, 0u);
  EXPECT_EQ(counts.accepted_plaintext, 1u);
}

TEST(PeerTrustTest, NobodyIsBelievedWithoutAVerifier) {
  PeerTrust trust(nullptr);
  EXPECT_EQ(trust.Judge("cart", absl::UnixEpoch())->verdict.status.code(),
            absl::StatusCode::kUnauthenticated);
}

TEST(PeerTrustTest, WhatItKeepsIsBounded) {
  PeerTrust trust([](const std::string&) { return PeerVerdict(); });
  for (int i = 0; i < 5000; ++i) {
    trust.Judge(std::to_string(i), absl::UnixEpoch());
    EXPECT_LE(trust.kept(), 1000u);
  }
  PeerTrust large([](const std::string&) { return PeerVerdict(); });
  for (int i = 0; i < 100; ++i) {
    large.Judge(std::string(1 << 20, 'a') + std::to_string(i),
                absl::UnixEpoch());
    EXPECT_LE(large.kept(), 8u);
  }
}

TEST(PeerTrustTest, AVerdictThatHasEndedIsAskedForAgain) {
  FakeClock clock;
  int asked = 0;
  PeerTrust trust([&](const std::string&) {
    ++asked;
    PeerVerdict verdict;
    verdict.until = clock.Now() + absl::Seconds(10);
    return verdict;
  });
  trust.Judge("cart", clock.Now());
  clock.Advance(absl::Seconds(9));
  trust.Judge("cart", clock.Now());
  EXPECT_EQ(asked, 1);
  clock.Advance(absl::Seconds(1));
  trust.Judge("cart", clock.Now());
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(trust.kept(), 1u);
}

}  // namespace
}  // namespace mesh::server
