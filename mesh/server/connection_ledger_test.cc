#include "mesh/server/connection_ledger.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
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
        PeerVerification verdict;
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

  // What becomes of a call of `remote` at the door.
  ConnectionLedger::Ruling Rule(const Remote& remote) {
    return ledger_->Rule(
        remote.chain.empty() ? Wire::kPlaintext : Wire::kTls,
        remote.context.get(),
        [&] {
          ++asked_;
          return ConnectionLedger::FirstCall{remote.chain, remote.context};
        },
        clock_.Now());
  }
  // A call of `remote`: the ruling on it, and its caller if it was admitted.
  absl::Status Call(const Remote& remote) {
    const ConnectionLedger::Ruling ruling = Rule(remote);
    caller_ = Caller();
    if (!ruling.status.ok()) return ruling.status;
    EXPECT_NE(ruling.peer, nullptr);
    caller_ = Admit(remote);
    return absl::OkStatus();
  }
  // The caller of a call that was admitted.
  Caller Admit(const Remote& remote) {
    return ledger_->Admitted(
        remote.context.get(), [&] { return remote.name; }, clock_.Now());
  }

  // Another trust, by which all peers are judged at once.
  void Trust(std::shared_ptr<PeerTrust> trust, bool withdrawn) {
    ledger_->SetTrust(std::move(trust), withdrawn, clock_.Now());
    while (ledger_->LookAround(clock_.Now()).next <= clock_.Now()) {
    }
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
  Caller caller_;  // Who made the last call.
  int asked_ = 0;  // How often a first call was.
  int sooner_ = 0;
  int port_ = 0;
};

TEST_F(LedgerTest, ACallOfABelievedPeerHasItsName) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_NE(caller_.peer, nullptr);
  EXPECT_EQ(caller_.peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_FALSE(caller_.peer->plaintext);
  EXPECT_FALSE(caller_.IsLeaving());
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
    return PeerVerification();
  };
  Make(kStrict, std::make_shared<PeerTrust>(verify));
  const Remote one = Connect("cart");
  const Remote two = Connect("cart");
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Call(one).ok());
    EXPECT_TRUE(Call(two).ok());
  }
  EXPECT_EQ(asked, 1) << "the same bytes";
  Trust(std::make_shared<PeerTrust>(verify), false);
  EXPECT_TRUE(Call(one).ok());
  EXPECT_TRUE(Call(two).ok());
  EXPECT_EQ(asked, 2);
}

TEST_F(LedgerTest, AnOldTrustIsKeptForNobody) {
  auto old = Believe({{"cart", "x"}});
  const std::weak_ptr<PeerTrust> kept = old;
  Make(kStrict, std::move(old));
  const Remote cart = Connect("cart");
  const Remote other = Connect("other");
  EXPECT_TRUE(Call(cart).ok());
  EXPECT_FALSE(Call(other).ok());
  // It may have many authorities and large lists.
  Trust(Believe({{"cart", "x"}}), false);
  EXPECT_TRUE(kept.expired());
}

TEST_F(LedgerTest, AWithdrawnPeerIsToldThenRefusedThenShut) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}, {"shop", "x"}}));
  const Remote cart = Connect("cart");
  const Remote shop = Connect("shop");
  ASSERT_TRUE(Call(shop).ok());
  ASSERT_TRUE(Call(cart).ok());
  const Caller old = caller_;
  Trust(Believe({{"shop", "x"}}), true);
  EXPECT_GE(sooner_, 1);
  EXPECT_TRUE(old.IsLeaving()) << "a call that runs is told at once";

  clock_.Advance(ConnectionLedger::kRefuseAfter - absl::Milliseconds(1));
  EXPECT_TRUE(Call(cart).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_TRUE(caller_.IsLeaving());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Call(cart).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{cart.id});
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty()) << "once";

  ASSERT_TRUE(Call(shop).ok());
  EXPECT_FALSE(caller_.IsLeaving());
}

TEST_F(LedgerTest, ANewConnectionOfAWithdrawnPeerIsRefusedAtOnce) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote old = Connect("cart");
  ASSERT_TRUE(Call(old).ok());
  Trust(Believe({}), true);
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
  Trust(Believe({}), /*withdrawn=*/true);
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(Call(idle).ok());
  ASSERT_NE(caller_.peer, nullptr);
  EXPECT_EQ(caller_.peer->spiffe_id, "spiffe://prod/cart");
  EXPECT_TRUE(caller_.IsLeaving());
  // Its time began with the withdrawal, and not with the call.
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Call(idle).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{idle.id});
}

TEST_F(LedgerTest, ASecondWithdrawalDoesNotForgetTheFirst) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote idle = Connect("cart");
  Trust(Believe({{"shop", "y"}}), true);
  clock_.Advance(absl::Seconds(1));
  Trust(Believe({}), true);
  ASSERT_TRUE(Call(idle).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "x");
  // Its time began with the first.
  EXPECT_EQ(ShutAfter(absl::Seconds(4)), std::vector<Id>{idle.id});
}

TEST_F(LedgerTest, AWithdrawalDuringAVerdictIsNotUndone) {
  bool during = false;
  const auto trust = std::make_shared<PeerTrust>([&](const std::string&) {
    if (std::exchange(during, false)) {
      ledger_->SetTrust(Believe({}), true, clock_.Now());
    }
    PeerVerification verdict;
    verdict.peer.spiffe_id = "x";
    verdict.until = clock_.Now();  // It is asked for with each call.
    return verdict;
  });
  Make(kStrict, trust);
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  during = true;
  ASSERT_TRUE(Call(cart).ok()) << "it has time to leave";
  EXPECT_TRUE(caller_.IsLeaving());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{cart.id});
}

TEST_F(LedgerTest, ANewerConnectionBesideAnIdleOneHasOneCallAtMost) {
  Make(kStrict, Believe({{"cart", "spiffe://prod/cart"}}));
  Connect("cart");
  Trust(Believe({}), /*withdrawn=*/true);
  clock_.Advance(absl::Seconds(1));
  const Remote newer = Connect("cart");
  ASSERT_TRUE(Rule(newer).status.ok());
  // The first is at no handler yet: its message has not come.
  EXPECT_EQ(Rule(newer).status.code(), absl::StatusCode::kUnavailable);
  caller_ = Admit(newer);
  EXPECT_EQ(Call(newer).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{newer.id});
}

TEST_F(LedgerTest, AWithdrawalShutsWhatNeverMadeACall) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote silent = Connect("cart");
  const Remote late = Connect("cart");
  Trust(Believe({{"cart", "x"}}), true);
  EXPECT_TRUE(Call(late).ok());
  EXPECT_FALSE(caller_.IsLeaving()) << "it has said who it is";
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter),
            std::vector<Id>{silent.id});
}

TEST_F(LedgerTest, WhatWasShownAWithdrawnLeafHasToLeave) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  ledger_->SetShown(1, 0, clock_.Now());
  const Remote plaintext = Connect("");
  const Remote silent = Connect("cart");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ledger_->SetShown(2, 0, clock_.Now());
  const Remote later = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_FALSE(caller_.IsLeaving()) << "a renewal withdraws nothing";
  const int sooner = sooner_;
  ledger_->SetShown(3, 1, clock_.Now());
  EXPECT_GT(sooner_, sooner);
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_TRUE(caller_.IsLeaving());
  ASSERT_TRUE(Call(later).ok());
  EXPECT_FALSE(caller_.IsLeaving());
  clock_.Advance(ConnectionLedger::kRefuseAfter);
  EXPECT_TRUE(absl::IsUnavailable(Call(cart)));
  clock_.Advance(ConnectionLedger::kShutAfter - ConnectionLedger::kRefuseAfter);
  EXPECT_THAT(ledger_->LookAround(clock_.Now()).shut,
              ::testing::UnorderedElementsAre(silent.id, cart.id));
  EXPECT_TRUE(Call(later).ok());
  EXPECT_TRUE(Call(plaintext).ok());
}

TEST_F(LedgerTest, ARenewalShutsNothing) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote silent = Connect("cart");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  Trust(Believe({{"cart", "x"}}), false);
  clock_.Advance(absl::Hours(1));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
  EXPECT_TRUE(Call(silent).ok());
}

TEST_F(LedgerTest, APeerThatIsBelievedAgainStays) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  Trust(Believe({}), true);
  clock_.Advance(absl::Seconds(3));
  EXPECT_TRUE(caller_.IsLeaving());
  Trust(Believe({{"cart", "x"}}), false);
  EXPECT_FALSE(caller_.IsLeaving());
  clock_.Advance(absl::Seconds(10));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
  EXPECT_TRUE(Call(cart).ok());
}

TEST_F(LedgerTest, ALeafThatExpiresEndsItsConnectionWithoutACall) {
  const absl::Time end = clock_.Now() + absl::Seconds(60);
  bool expired = false;
  Make(kStrict, std::make_shared<PeerTrust>([&](const std::string&) {
         PeerVerification verdict;
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
  EXPECT_TRUE(caller_.IsLeaving());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{cart.id});
}

TEST_F(LedgerTest, StrictEndsPlaintext) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  const Remote plain = Connect("");
  const Remote silent = Connect("");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_TRUE(Call(plain).ok());
  EXPECT_TRUE(caller_.peer->plaintext);
  const Caller old = caller_;
  ledger_->SetWires(kStrict, clock_.Now());
  EXPECT_TRUE(old.IsLeaving());
  EXPECT_EQ(Connect("").id, 0u);
  clock_.Advance(absl::Seconds(3));
  EXPECT_TRUE(Call(plain).ok()) << "it has time to leave";
  EXPECT_TRUE(caller_.IsLeaving());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Call(plain).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ShutAfter(absl::Seconds(1)),
            (std::vector<Id>{plain.id, silent.id}));
  EXPECT_TRUE(Call(cart).ok());
  EXPECT_FALSE(caller_.IsLeaving());
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
  EXPECT_FALSE(caller_.IsLeaving());
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
}

TEST_F(LedgerTest, APortWithoutTlsRefusesItFromTheStart) {
  Make({false, true}, Believe({{"cart", "x"}}));
  EXPECT_EQ(Call(Connect("cart")).code(), absl::StatusCode::kUnavailable);
}

TEST_F(LedgerTest, TheContextIsHeldUntilManyOthersAreGone) {
  Make(kStrict, Believe({{"cart", "x"}}));
  Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  const std::weak_ptr<int> context = cart.context;
  cart.context = nullptr;
  EXPECT_FALSE(context.expired()) << "its address cannot be another's";
  ledger_->Remove(cart.id);
  for (size_t i = 0; i < ConnectionLedger::kSpareContacts; ++i) {
    EXPECT_FALSE(context.expired()) << "its last call may yet be served";
    const Remote other = Connect("cart");
    ASSERT_TRUE(Call(other).ok());
    ledger_->Remove(other.id);
    ASSERT_LE(ledger_->contacts(), ConnectionLedger::kSpareContacts);
  }
  EXPECT_TRUE(context.expired());
  EXPECT_EQ(ledger_->counts().closed_before_call, 0u);
  ledger_->Remove(Connect("cart").id);
  EXPECT_EQ(ledger_->counts().closed_before_call, 1u);
}

// gRPC hands on some calls with their first message only, and also when they
// are cancelled by then.
TEST_F(LedgerTest, AnAdmittedCallHasItsNameWhenTheSocketIsGone) {
  Make(kPermissive, Believe({{"cart", "spiffe://prod/cart"}}));
  for (const bool known : {false, true}) {
    for (const char* chain : {"cart", ""}) {
      const Remote remote = Connect(chain);
      if (known) {
        ASSERT_TRUE(Call(remote).ok());
      }
      ASSERT_TRUE(Rule(remote).status.ok());
      ledger_->Remove(remote.id);
      caller_ = Admit(remote);
      ASSERT_NE(caller_.peer, nullptr);
      EXPECT_EQ(caller_.peer->plaintext, remote.chain.empty());
      EXPECT_EQ(caller_.peer->spiffe_id,
                remote.chain.empty() ? "" : "spiffe://prod/cart");
    }
  }
}

TEST_F(LedgerTest, ACallOfAGoneConnectionClaimsNoNewerOne) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote gone = Connect("cart", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(gone).ok());
  ledger_->Remove(gone.id);
  const Remote next = Connect("shop", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(gone).ok()) << "what it had sent before";
  EXPECT_EQ(caller_.peer->spiffe_id, "x");
  Trust(Believe({{"shop", "y"}}), true);
  ASSERT_TRUE(Call(next).ok());
  EXPECT_FALSE(caller_.IsLeaving());
  EXPECT_EQ(Call(gone).code(), absl::StatusCode::kUnavailable)
      << "it is ruled on anew";
}

TEST_F(LedgerTest, AnAddressThatComesBackIsTheNewConnections) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote gone = Connect("cart", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(gone).ok());
  const Remote next = Connect("shop", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Call(next).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "y");
  ledger_->Remove(gone.id);
  Trust(Believe({{"cart", "x"}}), true);
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{next.id});
}

// One port of a peer, and two addresses of the server.
TEST_F(LedgerTest, ConnectionsOfOneAddressLeaveTogether) {
  for (const bool other_calls : {false, true}) {
    bool expired = false;
    const absl::Time end = clock_.Now() + absl::Seconds(60);
    Make(kStrict, std::make_shared<PeerTrust>([&](const std::string& chain) {
           PeerVerification verdict;
           if (chain != "cart") return verdict;
           if (expired) {
             verdict.status = absl::UnauthenticatedError("expired");
           } else {
             verdict.until = end;
           }
           return verdict;
         }));
    const Remote cart = Connect("cart", "ipv4:1.2.3.4:5");
    const Remote other = Connect("shop", "ipv4:1.2.3.4:5");
    const Remote last = Connect("shop", "ipv4:1.2.3.4:5");
    ASSERT_TRUE(Call(cart).ok());
    const Caller stream = caller_;
    if (other_calls) {
      ASSERT_TRUE(Call(other).ok());
    }
    ledger_->Remove(last.id);
    EXPECT_EQ(ledger_->LookAround(clock_.Now()).next, end);
    expired = true;
    clock_.Set(end);
    EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
    EXPECT_TRUE(stream.IsLeaving());
    EXPECT_TRUE(caller_.IsLeaving());
    EXPECT_EQ(ledger_->counts().leaving, 2u);
    EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter),
              (std::vector<Id>{cart.id, other.id}));
    ledger_->Remove(cart.id);
    ledger_->Remove(other.id);
    EXPECT_EQ(ledger_->counts().closed_before_call, 0u);
  }
}

// It sent a call and went, and came back by the same port as somebody else.
TEST_F(LedgerTest, ACallOfAnUnknownConnectionDoesNotHideANewerOne) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote gone = Connect("shop", "ipv4:1.2.3.4:5");
  ASSERT_TRUE(Rule(gone).status.ok());
  ledger_->Remove(gone.id);
  const Remote next = Connect("cart", "ipv4:1.2.3.4:5");
  Admit(gone);
  ASSERT_TRUE(Call(next).ok());
  Trust(Believe({{"shop", "y"}}), true);
  EXPECT_TRUE(caller_.IsLeaving());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter), std::vector<Id>{next.id});
}

TEST_F(LedgerTest, ACallWhoseSocketIsNotFoundHasItsName) {
  Make(kPermissive, Believe({}));
  Connect("", "ipv4:1.2.3.4:5");
  Remote other;
  other.name = "ipv4:1.2.3.4:6";
  ASSERT_TRUE(Call(other).ok());
  ASSERT_NE(caller_.peer, nullptr);
  EXPECT_TRUE(caller_.peer->plaintext);
  EXPECT_FALSE(caller_.IsLeaving());
}

TEST_F(LedgerTest, ASecondCallOfARefusedConnectionCostsALookup) {
  int verified = 0;
  Make(kStrict, std::make_shared<PeerTrust>([&](const std::string&) {
         ++verified;
         PeerVerification verdict;
         verdict.status = absl::UnauthenticatedError("not believed");
         return verdict;
       }));
  const Remote other = Connect("other");
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(Call(other).message(),
              "the caller is not verified: not believed.");
    EXPECT_EQ(ledger_->counts().refused_unverified, static_cast<uint64_t>(i));
  }
  EXPECT_EQ(asked_, 1) << "its certificates were read once";
  EXPECT_EQ(verified, 1);
}

TEST_F(LedgerTest, ACallThatLaterGuardsRefuseCostsALookup) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  for (const char* chain : {"cart", ""}) {
    asked_ = 0;
    const Remote remote = Connect(chain);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(Rule(remote).status.ok());
    EXPECT_EQ(asked_, 1);
    EXPECT_TRUE(Call(remote).ok());
    EXPECT_NE(caller_.peer, nullptr);
  }
}

TEST_F(LedgerTest, AConnectionOfRefusedCallsWasNotClosedBeforeACall) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote refused = Connect("other");
  const Remote idle = Connect("cart");
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_FALSE(Call(refused).ok());
  EXPECT_FALSE(Call(refused).ok());
  ledger_->Remove(refused.id);
  ledger_->Remove(cart.id);
  ledger_->Remove(idle.id);
  EXPECT_EQ(ledger_->counts().closed_before_call, 1u) << "the idle one";
}

TEST_F(LedgerTest, ARefusedPeerThatIsBelievedLaterIsKnown) {
  Make(kStrict, Believe({}));
  const Remote cart = Connect("cart");
  EXPECT_FALSE(Call(cart).ok());
  Trust(Believe({{"cart", "x"}}), false);
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "x");
  EXPECT_EQ(asked_, 1);
  ledger_->Remove(cart.id);
  EXPECT_EQ(ledger_->counts().closed_before_call, 0u);
}

TEST_F(LedgerTest, RefusedConnectionsThatAreGoneAreForgotten) {
  Make(kStrict, Believe({}));
  const Remote idle = Connect("idle");
  std::weak_ptr<int> first;
  for (size_t i = 0; i < 2 * ConnectionLedger::kSpareContacts; ++i) {
    const Remote other = Connect("other");
    if (i == 0) first = other.context;
    EXPECT_FALSE(Call(other).ok());
    ledger_->Remove(other.id);
    ASSERT_LE(ledger_->contacts(), ConnectionLedger::kSpareContacts + 2);
  }
  EXPECT_TRUE(first.expired());
  ledger_->Remove(idle.id);
  EXPECT_EQ(ledger_->contacts(), ConnectionLedger::kSpareContacts);
  EXPECT_EQ(ledger_->counts().closed_before_call, 1u);
}

TEST_F(LedgerTest, ACallOfAnotherPortClaimsNoConnection) {
  Make(kPermissive, Believe({{"cart", "x"}}));
  for (const char* chain : {"cart", ""}) {
    const Remote ours = Connect(chain, "ipv4:1.2.3.4:5");
    // It comes from the same address and port to another port of the server.
    const auto other = std::make_shared<int>();
    EXPECT_EQ(ledger_
                  ->Admitted(
                      other.get(), [&] { return ours.name; }, clock_.Now())
                  .peer,
              nullptr);
    ASSERT_TRUE(Call(ours).ok());
    ledger_->SetWires({false, false}, clock_.Now());
    EXPECT_TRUE(caller_.IsLeaving()) << "its connection is known";
    ledger_->SetWires(kPermissive, clock_.Now());
    ledger_->Remove(ours.id);
  }
}

TEST_F(LedgerTest, TheNextCallHasTheNameOfTheNewestVerdict) {
  Make(kStrict, Believe({{"cart", "old"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  const Caller old = caller_;
  Trust(Believe({{"cart", "new"}}), false);
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "new");
  EXPECT_EQ(old.peer->spiffe_id, "old") << "a call keeps its name";
  Trust(Believe({}), true);
  EXPECT_TRUE(old.IsLeaving());
  ASSERT_TRUE(Call(cart).ok());
  EXPECT_EQ(caller_.peer->spiffe_id, "new") << "while it has time to leave";
}

TEST_F(LedgerTest, APublicationVerifiesNobody) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote cart = Connect("cart");
  ASSERT_TRUE(Call(cart).ok());
  int verified = 0;
  const auto trust = std::make_shared<PeerTrust>([&](const std::string&) {
    ++verified;
    return PeerVerification();
  });
  const int before = sooner_;
  ledger_->SetTrust(trust, true, clock_.Now());
  EXPECT_EQ(verified, 0);
  EXPECT_GT(sooner_, before) << "a look is due";
  ledger_->LookAround(clock_.Now());
  EXPECT_EQ(verified, 1);
}

TEST_F(LedgerTest, ManyPeersAreJudgedInPortions) {
  Make(kStrict, Believe({{"cart", "x"}}));
  std::vector<Caller> callers;
  std::vector<Id> ids;
  for (size_t i = 0; i < 2 * ConnectionLedger::kJudgedAtOnce + 1; ++i) {
    const Remote cart = Connect("cart");
    ASSERT_TRUE(Call(cart).ok());
    callers.push_back(caller_);
    ids.push_back(cart.id);
  }
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  clock_.Advance(absl::Seconds(2));  // The looks are late.
  const auto leaving = [&] { return ledger_->counts().leaving; };
  for (size_t i = 1; i <= 2; ++i) {
    EXPECT_EQ(ledger_->LookAround(clock_.Now()).next, clock_.Now());
    EXPECT_EQ(leaving(), i * ConnectionLedger::kJudgedAtOnce);
  }
  EXPECT_GT(ledger_->LookAround(clock_.Now()).next, clock_.Now());
  for (const Caller& caller : callers) EXPECT_TRUE(caller.IsLeaving());
  // Their time began with the withdrawal.
  EXPECT_EQ(ShutAfter(absl::Seconds(3)), ids);
}

TEST_F(LedgerTest, AWithdrawalIsTotalWhetherPeersWereJudgedOrNot) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote cart = Connect("cart");
  const Remote shop = Connect("shop");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_TRUE(Call(shop).ok());
  ledger_->SetTrust(Believe({{"shop", "y"}}), true, clock_.Now());
  clock_.Advance(ConnectionLedger::kRefuseAfter - absl::Milliseconds(1));
  EXPECT_TRUE(Call(cart).ok());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Call(cart).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Call(shop).ok());
}

TEST_F(LedgerTest, ALookThatIsFarTooLateGivesNoMoreTime) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote cart = Connect("cart");
  const Remote shop = Connect("shop");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_TRUE(Call(shop).ok());
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  clock_.Advance(absl::Minutes(1));
  ledger_->SetTrust(Believe({}), false, clock_.Now());
  EXPECT_EQ(Call(cart).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ledger_->LookAround(clock_.Now()).shut,
            (std::vector<Id>{cart.id, shop.id}));
}

TEST_F(LedgerTest, TheTimeOfARefusedPeerBeginsWithTheTrustThatRefusesIt) {
  Make(kStrict, Believe({{"cart", "x"}, {"shop", "y"}}));
  const Remote cart = Connect("cart");
  const Remote shop = Connect("shop");
  ASSERT_TRUE(Call(cart).ok());
  ASSERT_TRUE(Call(shop).ok());
  // The second publication comes before the first one was looked at.
  ledger_->SetTrust(Believe({{"shop", "y"}}), true, clock_.Now());
  clock_.Advance(absl::Seconds(1));
  ledger_->SetTrust(Believe({}), true, clock_.Now());
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(ledger_->LookAround(clock_.Now()).shut.empty());
  EXPECT_EQ(ShutAfter(absl::Seconds(3)), std::vector<Id>{cart.id});
  EXPECT_EQ(ShutAfter(absl::Seconds(1)), std::vector<Id>{shop.id});
}

TEST_F(LedgerTest, AWithdrawalDuringALookIsNotUndone) {
  Make(kStrict, Believe({{"cart", "x"}}));
  const Remote cart = Connect("cart");
  const Remote idle = Connect("cart");
  ASSERT_TRUE(Call(idle).ok());
  const Caller silent = caller_;
  ASSERT_TRUE(Call(cart).ok());
  bool during = true;
  ledger_->SetTrust(std::make_shared<PeerTrust>([&](const std::string&) {
                      if (std::exchange(during, false)) {
                        ledger_->SetTrust(Believe({}), true, clock_.Now());
                        EXPECT_TRUE(Call(cart).ok());
                      }
                      return PeerVerification();
                    }),
                    false, clock_.Now());
  EXPECT_EQ(ledger_->LookAround(clock_.Now()).next, clock_.Now())
      << "again, at once";
  EXPECT_TRUE(caller_.IsLeaving()) << "its call was judged by the newest trust";
  EXPECT_FALSE(silent.IsLeaving());
  ledger_->LookAround(clock_.Now());
  EXPECT_TRUE(silent.IsLeaving());
  EXPECT_EQ(ShutAfter(ConnectionLedger::kShutAfter),
            (std::vector<Id>{cart.id, idle.id}));
}

TEST_F(LedgerTest, CallsThatRaceWithPublicationsAreRuledByTheLastOne) {
  const auto all = [] { return Believe({{"cart", "x"}}); };
  Make(kStrict, all());
  // Odd: no call may pass. Even: each one does. 0: nobody knows.
  std::atomic<int> period{2};
  std::atomic<int64_t> seconds{0};
  std::atomic<int> ruled{0};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  const auto call = [&](const Remote& remote) {
    const int before = period.load();
    const absl::Time now = absl::FromUnixSeconds(seconds.load());
    const bool passed = ledger_
                            ->Rule(
                                Wire::kTls, remote.context.get(),
                                [&] {
                                  return ConnectionLedger::FirstCall{
                                      remote.chain, remote.context};
                                },
                                now)
                            .status.ok();
    if (passed) {
      ledger_->Admitted(
          remote.context.get(), [&] { return remote.name; }, now);
    }
    if (before == 0 || before != period.load()) return;
    if (passed != (before % 2 == 0)) ++wrong;
    ++ruled;
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, remote = Connect("cart")] {
      while (!stop) call(remote);
    });
  }
  const auto wait = [&] {
    for (const int from = ruled; ruled < from + 30;) std::this_thread::yield();
  };
  const auto now = [&] { return absl::FromUnixSeconds(seconds.load()); };
  for (int round = 1; round <= 50; ++round) {
    wait();
    period = 0;
    ledger_->SetTrust(Believe({}), true, now());
    if (round % 2 == 0) ledger_->LookAround(now());
    seconds += 4;
    period = 2 * round + 1;
    wait();
    period = 0;
    ledger_->SetTrust(all(), false, now());
    if (round % 3 == 0) ledger_->LookAround(now());
    seconds += 10;
    period = 2 * round + 2;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
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
  PeerTrust trust([](const std::string&) { return PeerVerification(); });
  for (int i = 0; i < 5000; ++i) {
    trust.Judge(std::to_string(i), absl::UnixEpoch());
    EXPECT_LE(trust.kept(), 1000u);
  }
  PeerTrust large([](const std::string&) { return PeerVerification(); });
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
    PeerVerification verdict;
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
