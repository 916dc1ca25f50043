#include "mesh/resilience/health/ledger.h"

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/cluster/observations.h"

namespace mesh::resilience {
namespace {

using cluster::EndpointObservations;
using Kind = Finding::Kind;

class AttemptLedgerTest : public testing::Test {
 protected:
  void Begin(bool unary = true) { AttemptLedger::OnStart(&seen_, unary, now_); }
  Finding End(absl::StatusCode code, absl::Duration latency,
              bool local = false) {
    AttemptResult result;
    result.code = code;
    result.local = local;
    return End(result, latency);
  }
  Finding End(AttemptResult result, absl::Duration latency,
              bool in_use = true) {
    result.latency = latency;
    return ledger_.OnEnd(&seen_, result, in_use, now_);
  }
  void Answer(absl::Duration latency) {
    ledger_.OnAnswer(&seen_, absl::ToInt64Nanoseconds(latency), now_);
  }
  int64_t quiet_since() const { return seen_.silence.quiet_since; }
  uint32_t ended() const {
    return static_cast<uint32_t>(seen_.ended) &
           EndpointObservations::kEndedMask;
  }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  EndpointObservations seen_;
  AttemptLedger ledger_;
};

TEST_F(AttemptLedgerTest, LogsAreTwoHundredFiftySixthsOfPowersOfTwo) {
  EXPECT_EQ(AttemptLedger::LogOf(1), 8 * 256);
  EXPECT_EQ(AttemptLedger::LogOf(-1), 8 * 256);
  EXPECT_EQ(AttemptLedger::LogOf(256), 8 * 256);
  EXPECT_EQ(AttemptLedger::LogOf(1 << 20), 20 * 256);
  for (int64_t nanoseconds = 300; nanoseconds < int64_t{1} << 40;
       nanoseconds = nanoseconds * 7 / 5) {
    EXPECT_NEAR(AttemptLedger::LogOf(nanoseconds) / 256.0,
                std::log2(static_cast<double>(nanoseconds)), 0.1);
  }
}

TEST_F(AttemptLedgerTest, AnAnswerAccountsForAllThatWaits) {
  for (int i = 0; i < 5; ++i) Begin();
  EXPECT_EQ(seen_.silence.unanswered(), 5);
  EXPECT_EQ(seen_.awaiting(), 5);
  Answer(absl::Milliseconds(1));
  EXPECT_EQ(seen_.silence.unanswered(), 0);
  EXPECT_EQ(seen_.awaiting(), 4);
}

TEST_F(AttemptLedgerTest, QuietBeginsWithTheSecondUnansweredAttempt) {
  Begin();
  now_ += absl::Seconds(1);
  Begin();
  const int64_t second = absl::ToUnixNanos(now_);
  EXPECT_EQ(quiet_since(), second);
  now_ += absl::Seconds(1);
  Begin();
  EXPECT_EQ(quiet_since(), second);
}

TEST_F(AttemptLedgerTest, AfterAPauseQuietBeginsAnew) {
  AttemptResult given_up;
  given_up.given_up = true;
  for (int i = 0; i < 3; ++i) Begin();
  ledger_.set_telling_age(0);  // Whoever is given up has told of silence.
  for (int i = 0; i < 3; ++i) End(given_up, absl::ZeroDuration());
  EXPECT_EQ(seen_.silence.unanswered(), 3);
  EXPECT_EQ(seen_.awaiting(), 0);
  now_ += absl::Seconds(5);
  Begin();
  EXPECT_EQ(quiet_since(), absl::ToUnixNanos(now_)) << "nobody waited before";
}

TEST_F(AttemptLedgerTest, StreamsAreCountedApart) {
  Begin(/*unary=*/false);
  EXPECT_EQ(seen_.streams_begun, 1);
  EXPECT_EQ(seen_.silence.begun, 0);
  AttemptResult result;
  result.unary = false;
  EXPECT_EQ(End(result, absl::Hours(1)).kind, Kind::kSuccess);
  EXPECT_EQ(seen_.streams_ended, 1);
  EXPECT_EQ(ended(), 0);
}

TEST_F(AttemptLedgerTest, WhatAnAttemptSaysFollowsFromItsResult) {
  Begin();
  EXPECT_EQ(End(absl::StatusCode::kOk, absl::Milliseconds(1)).kind,
            Kind::kSuccess);
  EXPECT_EQ(End(absl::StatusCode::kNotFound, absl::Milliseconds(1)).kind,
            Kind::kSuccess)
      << "an answer";
  EXPECT_EQ(End(absl::StatusCode::kInternal, absl::Milliseconds(1)).kind,
            Kind::kFailure);
  EXPECT_EQ(End(absl::StatusCode::kUnavailable, absl::Milliseconds(1),
                /*local=*/true)
                .kind,
            Kind::kLocalFailure);
  EXPECT_EQ(End(absl::StatusCode::kCancelled, absl::Milliseconds(1),
                /*local=*/true)
                .kind,
            Kind::kNothing);
  AttemptResult result;
  result.code = absl::StatusCode::kUnavailable;
  result.never_sent = true;
  EXPECT_EQ(End(result, absl::Milliseconds(1)).kind, Kind::kNothing);
  // A stream that lives until its deadline.
  result = AttemptResult();
  result.code = absl::StatusCode::kDeadlineExceeded;
  result.local = true;
  result.unary = false;
  EXPECT_EQ(End(result, absl::Hours(1)).kind, Kind::kNothing);
  EXPECT_EQ(seen_.failures, 1);
  EXPECT_EQ(seen_.local_failures, 1);
  EXPECT_EQ(seen_.discounted, 3);
}

TEST_F(AttemptLedgerTest, ATimeoutIsNoAnswer) {
  Begin();
  Begin();
  End(absl::StatusCode::kDeadlineExceeded, absl::Seconds(1), /*local=*/true);
  EXPECT_EQ(seen_.silence.unanswered(), 2);
  EXPECT_EQ(seen_.awaiting(), 1);
  End(absl::StatusCode::kUnavailable, absl::Seconds(1), /*local=*/true);
  EXPECT_EQ(seen_.silence.unanswered(), 0) << "its connection is gone";
}

TEST_F(AttemptLedgerTest, WhoIsGivenUpSoonIsNoEvidence) {
  ledger_.set_telling_age(absl::ToInt64Nanoseconds(absl::Milliseconds(10)));
  AttemptResult given_up;
  given_up.given_up = true;
  given_up.code = absl::StatusCode::kCancelled;
  Begin();
  Begin();
  EXPECT_FALSE(End(given_up, absl::ZeroDuration()).telling);
  EXPECT_EQ(seen_.silence.unanswered(), 1);
  const Finding late = End(given_up, absl::Milliseconds(10));
  EXPECT_TRUE(late.telling);
  EXPECT_EQ(late.kind, Kind::kNothing);
  EXPECT_EQ(seen_.silence.unanswered(), 1);
  EXPECT_EQ(seen_.untimed, 1) << "the latency of the late one counts";
}

TEST_F(AttemptLedgerTest, LatenciesCountAsNoMoreThanTheMost) {
  ledger_.set_most_latency(1 << 20);
  LookedAt last;
  Begin();
  Answer(absl::Nanoseconds(1 << 18));
  Begin();
  Answer(absl::Hours(1));
  const Counted counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.timed, 2);
  EXPECT_DOUBLE_EQ(counted.log_latency, 18 + 20);
  EXPECT_EQ(ledger_.slowest(), absl::ToInt64Nanoseconds(absl::Hours(1)));
  EXPECT_EQ(ledger_.TakeSlowest(), absl::ToInt64Nanoseconds(absl::Hours(1)));
  EXPECT_EQ(ledger_.slowest(), 0);
}

TEST_F(AttemptLedgerTest, CountsAreTakenOnce) {
  LookedAt last;
  for (int i = 0; i < 4; ++i) Begin();
  Answer(absl::Nanoseconds(1 << 20));
  End(absl::StatusCode::kInternal, absl::Milliseconds(1));
  End(absl::StatusCode::kUnavailable, absl::Milliseconds(1), /*local=*/true);
  End(absl::StatusCode::kCancelled, absl::Milliseconds(1), /*local=*/true);
  Counted counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.timed, 1);
  EXPECT_DOUBLE_EQ(counted.log_latency, 20);
  EXPECT_EQ(counted.total, 3);
  EXPECT_EQ(counted.failed, 2);
  counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.timed, 0);
  EXPECT_EQ(counted.total, 0);
  EXPECT_EQ(counted.failed, 0);
}

TEST_F(AttemptLedgerTest, RowsOfFailuresAreCountedByKind) {
  Finding finding;
  finding.kind = Kind::kFailure;
  finding.unavailable = true;
  for (uint64_t i = 0; i < 3; ++i) ledger_.CountRow(&seen_, finding, false);
  FailureRow row(seen_.consecutive);
  EXPECT_EQ(row.failures, 3);
  EXPECT_EQ(row.gateway, 3);

  finding.unavailable = false;
  ledger_.CountRow(&seen_, finding, false);
  row = FailureRow(seen_.consecutive);
  EXPECT_EQ(row.failures, 4);
  EXPECT_EQ(row.gateway, 0) << "somebody was there";

  finding.kind = Kind::kLocalFailure;
  ledger_.CountRow(&seen_, finding, false);
  row = FailureRow(seen_.consecutive);
  EXPECT_EQ(row.failures, 4);
  EXPECT_EQ(row.local, 1);
  EXPECT_EQ(row.Most(), 4);

  finding.kind = Kind::kNothing;
  ledger_.CountRow(&seen_, finding, false);
  EXPECT_EQ(seen_.consecutive, row.Packed());

  finding.kind = Kind::kSuccess;
  EXPECT_EQ(ledger_.CountRow(&seen_, finding, false), row.Packed());
  EXPECT_EQ(seen_.consecutive, 0);
}

TEST_F(AttemptLedgerTest, TimeoutsThatComeAnywhereAreInNoRow) {
  Finding timeout;
  timeout.kind = Kind::kLocalFailure;
  timeout.timed_out = true;
  timeout.latency = kMillisecond - 1;
  ledger_.CountRow(&seen_, timeout, false);
  EXPECT_EQ(seen_.consecutive, 0) << "too short for anybody";
  timeout.latency = 10 * kMillisecond;
  ledger_.CountRow(&seen_, timeout, /*suspect=*/true);
  EXPECT_EQ(seen_.consecutive, 0) << "its silence is known";
  ledger_.set_telling_age(20 * kMillisecond);
  ledger_.CountRow(&seen_, timeout, false);
  EXPECT_EQ(seen_.consecutive, 0) << "most calls take longer";
  ledger_.set_telling_age(10 * kMillisecond);
  ledger_.CountRow(&seen_, timeout, false);
  EXPECT_EQ(FailureRow(seen_.consecutive).local, 1);
}

TEST_F(AttemptLedgerTest, ARowIsCountedUpToSixteenBits) {
  FailureRow row(0);
  row.failures = 70000;
  row.gateway = 1;
  row.local = 0x10000;
  const FailureRow packed(row.Packed());
  EXPECT_EQ(packed.failures, 0xffff);
  EXPECT_EQ(packed.gateway, 1);
  EXPECT_EQ(packed.local, 0xffff);
}

}  // namespace
}  // namespace mesh::resilience
