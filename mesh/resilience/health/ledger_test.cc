#include "mesh/resilience/health/ledger.h"

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
    const Finding finding = ledger_.OnEnd(&seen_, result, in_use, now_);
    if (finding.Failed()) AttemptLedger::CountFailure(&seen_, finding);
    return finding;
  }
  void Answer(absl::Duration latency) {
    ledger_.OnAnswer(&seen_, &pace_, absl::ToInt64Nanoseconds(latency), now_);
  }
  int64_t quiet_since() const { return seen_.silence.quiet_since; }
  uint32_t ended() const { return seen_.ended; }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  EndpointObservations seen_;
  MethodPace pace_;
  AttemptLedger ledger_;
};

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
            Kind::kConnectionFailure);
  EXPECT_EQ(End(absl::StatusCode::kDeadlineExceeded, absl::Milliseconds(1),
                /*local=*/true)
                .kind,
            Kind::kFailure)
      << "no failure of the connection";
  EXPECT_EQ(
      End(absl::StatusCode::kResourceExhausted, absl::Milliseconds(1)).kind,
      Kind::kSuccess)
      << "load is no illness";
  EXPECT_EQ(End(absl::StatusCode::kCancelled, absl::Milliseconds(1),
                /*local=*/true)
                .kind,
            Kind::kNothing);
  AttemptResult result;
  result.code = absl::StatusCode::kUnavailable;
  result.never_sent = true;
  EXPECT_EQ(End(result, absl::Milliseconds(1)).kind, Kind::kNothing);
  // A reply that was larger than this side takes; no credentials to be had.
  for (absl::StatusCode code :
       {absl::StatusCode::kResourceExhausted, absl::StatusCode::kUnavailable}) {
    result = AttemptResult();
    result.code = code;
    result.local = result.own = true;
    EXPECT_EQ(End(result, absl::Milliseconds(1)).kind, Kind::kNothing);
  }
  // A stream that lives until its deadline.
  result = AttemptResult();
  result.code = absl::StatusCode::kDeadlineExceeded;
  result.local = true;
  result.unary = false;
  EXPECT_EQ(End(result, absl::Hours(1)).kind, Kind::kNothing);
  EXPECT_EQ(seen_.failures, 2);
  EXPECT_EQ(seen_.connection_failures, 1);
  EXPECT_EQ(seen_.discounted, 5);
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
  EXPECT_TRUE(late.lags) << "another one was quicker";
}

TEST_F(AttemptLedgerTest, AnAnswerThatThisSideDoesNotTakeIsNoSilence) {
  AttemptResult own;
  own.code = absl::StatusCode::kResourceExhausted;
  own.local = own.own = true;
  for (int i = 0; i < 3; ++i) Begin();
  now_ += absl::Seconds(1);
  EXPECT_FALSE(End(own, absl::Seconds(1)).answered);
  EXPECT_GT(seen_.silence.unanswered(), 0) << "nothing was sent";
  own.answered = true;
  const Finding finding = End(own, absl::Seconds(1));
  EXPECT_TRUE(finding.answered);
  EXPECT_EQ(finding.kind, Kind::kNothing);
  EXPECT_EQ(seen_.silence.unanswered(), 0);
}

TEST_F(AttemptLedgerTest, RemembersTheSlowestAnswer) {
  Begin();
  Answer(absl::Milliseconds(1));
  Begin();
  Answer(absl::Hours(1));
  EXPECT_EQ(ledger_.slowest(), absl::ToInt64Nanoseconds(absl::Hours(1)));
  EXPECT_EQ(ledger_.TakeSlowest(), absl::ToInt64Nanoseconds(absl::Hours(1)));
  EXPECT_EQ(ledger_.slowest(), 0);
}

TEST_F(AttemptLedgerTest, AnAnswerThatIsSlowAgainstItsMethodLags) {
  Slowness slowness;
  slowness.factor = 3;
  slowness.difference = 5 * kMillisecond;
  ledger_.set_slowness(slowness);
  Begin();
  Answer(absl::Milliseconds(10));
  AttemptResult result;
  result.pace = &pace_;
  EXPECT_TRUE(End(result, absl::Milliseconds(31)).lags);
  EXPECT_FALSE(End(result, absl::Milliseconds(93)).lags)
      << "the last one took 31";
  result.pace = nullptr;
  EXPECT_FALSE(End(result, absl::Milliseconds(31)).lags) << "of no method";
}

TEST_F(AttemptLedgerTest, CountsAreTakenOnce) {
  LookedAt last;
  for (int i = 0; i < 4; ++i) Begin();
  Answer(absl::Nanoseconds(1 << 20));
  End(absl::StatusCode::kInternal, absl::Milliseconds(1));
  End(absl::StatusCode::kUnavailable, absl::Milliseconds(1), /*local=*/true);
  End(absl::StatusCode::kCancelled, absl::Milliseconds(1), /*local=*/true);
  Counted counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.ended, 4);
  EXPECT_EQ(counted.total, 3);
  EXPECT_EQ(counted.failed, 2);
  EXPECT_EQ(Told(seen_), 3);
  counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.ended, 0);
  EXPECT_EQ(counted.total, 0);
  EXPECT_EQ(counted.failed, 0);
}

TEST_F(AttemptLedgerTest, WhatSaysNothingIsNeitherAFailureNorAnAttempt) {
  LookedAt last;
  Begin();
  Begin();
  const Finding hasty = End(absl::StatusCode::kDeadlineExceeded,
                            absl::Microseconds(1), /*local=*/true);
  EXPECT_TRUE(hasty.Failed() && hasty.hasty);
  AttemptResult result;
  result.code = absl::StatusCode::kUnavailable;
  result.local = true;
  Finding duplicate = ledger_.OnEnd(&seen_, result, /*in_use=*/true, now_);
  duplicate.kind = Kind::kNothing;
  duplicate.duplicate = true;
  AttemptLedger::CountFailure(&seen_, duplicate);
  const Counted counted = TakeCounts(seen_, &last);
  EXPECT_EQ(counted.ended, 2);
  EXPECT_EQ(counted.total, 0);
  EXPECT_EQ(counted.failed, 0);
  EXPECT_EQ(seen_.consecutive, 0) << "nor part of a row";
}

TEST_F(AttemptLedgerTest, RowsAreOfAllFailuresAndOfThoseOfTheConnection) {
  Finding finding;
  finding.kind = Kind::kConnectionFailure;
  for (int i = 0; i < 3; ++i) AttemptLedger::CountFailure(&seen_, finding);
  FailureRow row(seen_.consecutive);
  EXPECT_EQ(row.failures, 3);
  EXPECT_EQ(row.connection, 3);

  finding.kind = Kind::kFailure;
  finding.timed_out = true;
  AttemptLedger::CountFailure(&seen_, finding);
  row = FailureRow(seen_.consecutive);
  EXPECT_EQ(row.failures, 4);
  EXPECT_EQ(row.connection, 3) << "a deadline says nothing of it";

  finding.timed_out = false;
  AttemptLedger::CountFailure(&seen_, finding);
  row = FailureRow(seen_.consecutive);
  EXPECT_EQ(row.failures, 5);
  EXPECT_EQ(row.connection, 0) << "somebody was there";

  EXPECT_TRUE(AttemptLedger::EndRow(&seen_));
  EXPECT_FALSE(AttemptLedger::EndRow(&seen_));
  EXPECT_EQ(seen_.consecutive, 0);
}

TEST_F(AttemptLedgerTest, ADeadlineThatIsShorterThanCallsTakeIsHasty) {
  const auto timeout = [this](absl::Duration after) {
    return End(absl::StatusCode::kDeadlineExceeded, after, /*local=*/true);
  };
  EXPECT_TRUE(timeout(absl::Microseconds(999)).hasty)
      << "too short for anybody";
  EXPECT_FALSE(timeout(absl::Milliseconds(10)).hasty);
  ledger_.set_telling_age(20 * kMillisecond);
  EXPECT_TRUE(timeout(absl::Milliseconds(10)).hasty) << "most take longer";
  EXPECT_FALSE(timeout(absl::Milliseconds(20)).hasty);
  EXPECT_FALSE(End(absl::StatusCode::kInternal, absl::Microseconds(1)).hasty);
}

TEST_F(AttemptLedgerTest, ARowIsCountedUpToSixteenBits) {
  FailureRow row(0);
  row.failures = 70000;
  row.connection = 0x10000;
  const FailureRow packed(row.Packed());
  EXPECT_EQ(packed.failures, 0xffff);
  EXPECT_EQ(packed.connection, 0xffff);
}

}  // namespace
}  // namespace mesh::resilience
