#include "mesh/front/caller_verifier.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/security/identity.h"
#include "mesh/security/source_test_util.h"
#include "mesh/server/connection_ledger.h"
#include "mesh/testing/fake_clock.h"

namespace mesh::front {
namespace {

using server::ConnectionLedger;
using server::Wire;

// A server, and a caller whose certificate holds for an hour.
class CallerVerifierTest : public ::testing::Test {
 protected:
  // An open connection, and its calls.
  void Connect() {
    ledger_.Add(Wire::kTls, "ipv4:1.2.3.4:5");
    ASSERT_TRUE(Call().ok());
    ledger_.Admitted(
        context_.get(), [] { return "ipv4:1.2.3.4:5"; }, clock_.Now());
  }
  absl::Status Call() {
    return ledger_
        .Rule(
            Wire::kTls, context_.get(),
            [&] {
              return ConnectionLedger::FirstCall{caller_.chain, context_};
            },
            clock_.Now())
        .status;
  }

  // Whole seconds, as certificates have.
  absl::Time wall_ =
      absl::FromUnixSeconds(absl::ToUnixSeconds(base::WallTime()));
  testing::FakeClock clock_;
  const certs::Authority root_ = security::RootAt(wall_, "root");
  const certs::Issued caller_ =
      security::SvidOf(root_, wall_ - absl::Hours(1), wall_ + absl::Hours(1));
  const std::shared_ptr<CallerCounts> counts_ =
      std::make_shared<CallerCounts>();
  const std::shared_ptr<int> context_ = std::make_shared<int>();
  ConnectionLedger ledger_{
      {true, false},
      std::make_shared<server::PeerTrust>(CallerVerifier(
          (*security::Identity::Make(
               security::BytesOf(caller_, root_.root_pem()), wall_))
              ->shared_trust(),
          options::CrlMode::kDefault, counts_, [&] { return wall_; },
          &clock_))};
};

TEST_F(CallerVerifierTest, AWallClockThatJumpsIsNoticed) {
  Connect();
  // The clock was put right, or the machine has slept.
  wall_ += absl::Hours(2);
  const absl::Time next = ledger_.LookAround(clock_.Now()).next;
  ASSERT_LE(next, clock_.Now() + kVerdictHolds);
  clock_.Set(next);
  ledger_.LookAround(clock_.Now());
  EXPECT_EQ(ledger_.counts().leaving, 1u);
  clock_.Advance(ConnectionLedger::kRefuseAfter);
  EXPECT_FALSE(Call().ok());
  EXPECT_EQ(
      counts_->refused[static_cast<size_t>(security::PeerRefusal::kExpired)],
      1u);
}

TEST_F(CallerVerifierTest, AVerdictEndsWithTheCertificate) {
  Connect();
  for (absl::Duration left = absl::Hours(1); left > absl::ZeroDuration();) {
    const absl::Time next = ledger_.LookAround(clock_.Now()).next;
    EXPECT_EQ(ledger_.counts().leaving, 0u);
    ASSERT_GT(next, clock_.Now());
    left -= next - clock_.Now();
    wall_ += next - clock_.Now();
    clock_.Set(next);
  }
  ledger_.LookAround(clock_.Now());
  EXPECT_EQ(ledger_.counts().leaving, 1u);
}

}  // namespace
}  // namespace mesh::front
