#include "mesh/channel/outcome.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace mesh::channel {
namespace {

using grpc::Status;
using grpc::StatusCode;

constexpr char kFromPeer[] = "Error received from peer ipv4:10.0.0.1:80";
constexpr char kNoConnection[] =
    "failed to connect to all addresses; last error: UNKNOWN: refused";

AttemptBounds At(absl::Time now) {
  AttemptBounds bounds;
  bounds.now = now;
  return bounds;
}

// Metadata whose text outlives it.
class Trailers {
 public:
  using Texts = std::vector<std::pair<std::string, std::string>>;
  explicit Trailers(Texts texts) : texts_(std::move(texts)) {
    for (const auto& [key, value] : texts_) {
      entries_.push_back(
          {grpc_slice_from_static_buffer(key.data(), key.size()),
           grpc_slice_from_static_buffer(value.data(), value.size()),
           {{nullptr}}});
    }
    array_ = {entries_.size(), entries_.size(), entries_.data()};
  }
  const grpc_metadata_array& array() const { return array_; }

 private:
  const Texts texts_;
  std::vector<grpc_metadata> entries_;
  grpc_metadata_array array_;
};

using Texts = Trailers::Texts;

TEST(OutcomeTest, KeepsTheCodeThatAServerGave) {
  for (int code = 1; code <= 16; ++code) {
    const call::AttemptOutcome outcome =
        Explain(Status(static_cast<StatusCode>(code), "no"), kFromPeer,
                At(absl::UnixEpoch()));
    EXPECT_EQ(static_cast<int>(outcome.code), code);
    EXPECT_FALSE(outcome.local) << code;
    EXPECT_FALSE(outcome.never_sent) << code;
    EXPECT_FALSE(outcome.attempt_timed_out) << code;
    EXPECT_FALSE(outcome.committed) << code;
  }
}

TEST(OutcomeTest, ACodeThatIsNoneIsUnknown) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "gRPC's header reads it as an enum, which UBSan ends";
#endif
  for (int code : {-1, 17, 100}) {
    EXPECT_EQ(Explain(Status(static_cast<StatusCode>(code), ""), kFromPeer,
                      At(absl::UnixEpoch()))
                  .code,
              absl::StatusCode::kUnknown);
  }
}

TEST(OutcomeTest, AFailureToConnectWasNeverSent) {
  const Status status(StatusCode::UNAVAILABLE, kNoConnection);
  const auto outcome = Explain(status, kNoConnection, At(absl::UnixEpoch()));
  EXPECT_TRUE(outcome.never_sent);
  EXPECT_TRUE(outcome.local);
  // A peer that repeats the words has seen the call.
  const auto repeated = Explain(
      status, std::string(kFromPeer) + " received from peer " + kNoConnection,
      At(absl::UnixEpoch()));
  EXPECT_FALSE(repeated.never_sent);
  // With another code they say nothing.
  EXPECT_FALSE(Explain(Status(StatusCode::INTERNAL, kNoConnection),
                       kNoConnection, At(absl::UnixEpoch()))
                   .never_sent);
}

TEST(OutcomeTest, ABrokenConnectionIsLocalWhateverTheCoreSays) {
  for (const char* words :
       {"Socket closed", "Connection reset by peer", "Broken pipe",
        "GOAWAY received", "Transport closed", "keepalive watchdog timeout",
        "Received RST_STREAM with error code 7"}) {
    EXPECT_TRUE(Explain(Status(StatusCode::UNAVAILABLE, words), kFromPeer,
                        At(absl::UnixEpoch()))
                    .local)
        << words;
  }
}

TEST(OutcomeTest, AnAnswerThatIsTooLargeWasAnAnswer) {
  const auto answered = [](const char* words) {
    return Explain(Status(StatusCode::RESOURCE_EXHAUSTED, words), words,
                   At(absl::UnixEpoch()))
        .answered;
  };
  EXPECT_TRUE(answered("Received message larger than max (5000 vs. 1000)"));
  EXPECT_FALSE(answered("Sent message larger than max (5000 vs. 1000)"));
  EXPECT_FALSE(answered("out of memory"));
}

TEST(OutcomeTest, WhatThisSideMakesIsItsOwn) {
  struct Case {
    StatusCode code;
    const char* words;
    bool own;
  };
  for (const Case& c :
       {Case{StatusCode::RESOURCE_EXHAUSTED,
             "Received message larger than max (5000 vs. 1000)", true},
        Case{StatusCode::RESOURCE_EXHAUSTED,
             "Sent message larger than max (5000 vs. 1000)", true},
        Case{StatusCode::UNAVAILABLE,
             "Getting metadata from plugin failed with error: no token", true},
        Case{StatusCode::UNAUTHENTICATED,
             "Established channel does not have a sufficient security level to "
             "transfer call credential.",
             true},
        Case{StatusCode::UNAVAILABLE, "Socket closed", false},
        Case{StatusCode::UNAVAILABLE, kNoConnection, false},
        Case{StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded", false},
        Case{StatusCode::INTERNAL, "broken", false}}) {
    EXPECT_EQ(
        Explain(Status(c.code, c.words), c.words, At(absl::UnixEpoch())).own,
        c.own)
        << c.words;
    EXPECT_FALSE(
        Explain(Status(c.code, c.words),
                std::string(kFromPeer) + " received from peer " + c.words,
                At(absl::UnixEpoch()))
            .own)
        << "a peer that says so has failed: " << c.words;
  }
}

TEST(OutcomeTest, ADroppedCallOfAnIdempotentMethodIsUnavailable) {
  const Status status(StatusCode::CANCELLED, "CANCELLED");
  AttemptBounds bounds = At(absl::UnixEpoch());
  EXPECT_EQ(Explain(status, kFromPeer, bounds).code,
            absl::StatusCode::kCancelled);
  bounds.idempotent = true;
  EXPECT_EQ(Explain(status, kFromPeer, bounds).code,
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Explain(status, "cancelled here", bounds).code,
            absl::StatusCode::kCancelled);
}

TEST(OutcomeTest, TheClockSaysWhoseDeadlineItWas) {
  const Status status(StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  AttemptBounds bounds;
  bounds.attempt_deadline = absl::UnixEpoch() + absl::Seconds(10);
  bounds.call_deadline = absl::UnixEpoch() + absl::Seconds(20);
  // The server's own, or that of a call that it made.
  bounds.now = absl::UnixEpoch() + absl::Seconds(5);
  EXPECT_FALSE(Explain(status, kFromPeer, bounds).attempt_timed_out);
  EXPECT_FALSE(Explain(status, kFromPeer, bounds).local);
  // The attempt's, which another clock may have let pass a little earlier.
  for (absl::Duration early : {absl::ZeroDuration(), absl::Milliseconds(4)}) {
    bounds.now = bounds.attempt_deadline - early;
    EXPECT_TRUE(Explain(status, kFromPeer, bounds).attempt_timed_out);
    EXPECT_TRUE(Explain(status, kFromPeer, bounds).local);
  }
  // The call's.
  bounds.call_deadline = bounds.attempt_deadline;
  EXPECT_FALSE(Explain(status, kFromPeer, bounds).attempt_timed_out);
  EXPECT_TRUE(Explain(status, kFromPeer, bounds).local);
  // Another code at that time is none.
  EXPECT_FALSE(Explain(Status(StatusCode::INTERNAL, ""), kFromPeer, bounds)
                   .attempt_timed_out);
}

TEST(OutcomeTest, ReadsPushback) {
  EXPECT_EQ(ParsePushback("250"), absl::Milliseconds(250));
  EXPECT_EQ(ParsePushback("0"), absl::ZeroDuration());
  for (const char* no : {"-1", "", "soon", "1.5", "99999999999999999999"}) {
    EXPECT_LT(ParsePushback(no), absl::ZeroDuration()) << no;
  }
  EXPECT_EQ(PushbackOf(Trailers(Texts()).array()), std::nullopt);
  EXPECT_EQ(PushbackOf(Trailers(Texts{{"other", "1"}}).array()), std::nullopt);
  const Trailers both(Texts{{"other", "1"}, {"grpc-retry-pushback-ms", "7"}});
  EXPECT_EQ(PushbackOf(both.array()), absl::Milliseconds(7));
}

TEST(OutcomeTest, HearsOfDraining) {
  EXPECT_FALSE(SaysDraining(Trailers(Texts()).array()));
  EXPECT_FALSE(SaysDraining(Trailers(Texts{{"mesh-drain", "1"}}).array()));
  EXPECT_TRUE(
      SaysDraining(Trailers(Texts{{"x", ""}, {"mesh-draining", "1"}}).array()));
}

TEST(OutcomeTest, SaysHowManyAttemptsCameBefore) {
  std::multimap<std::string, std::string> metadata = {{"x", "y"}};
  SayPreviousAttempts(0, &metadata);
  EXPECT_EQ(metadata.size(), 1u);
  SayPreviousAttempts(1, &metadata);
  SayPreviousAttempts(2, &metadata);
  ASSERT_EQ(metadata.count("grpc-previous-rpc-attempts"), 1u);
  EXPECT_EQ(metadata.find("grpc-previous-rpc-attempts")->second, "2");
  SayPreviousAttempts(0, &metadata);
  EXPECT_EQ(metadata.size(), 1u);
}

TEST(OutcomeTest, ReadsCodesByNameAndNumber) {
  EXPECT_EQ(ParseCode("14"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ParseCode("UNAVAILABLE"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ParseCode("16"), absl::StatusCode::kUnauthenticated);
  for (const char* no : {"0", "OK", "17", "-1", "unavailable", ""}) {
    EXPECT_EQ(ParseCode(no), std::nullopt) << no;
  }
}

TEST(OutcomeTest, TakesFaultsOutOfTheMetadata) {
  std::multimap<std::string, std::string> metadata = {
      {"mesh-fault-abort", "INTERNAL"},
      {"mesh-fault-delay-ms", "20"},
      {"x", "y"}};
  HeaderFaults faults = TakeFaults(&metadata);
  EXPECT_EQ(faults.abort, absl::StatusCode::kInternal);
  EXPECT_EQ(faults.delay, absl::Milliseconds(20));
  EXPECT_EQ(metadata.size(), 1u);
  metadata = {{"mesh-fault-abort", "?"}, {"mesh-fault-delay-ms", "-3"}};
  faults = TakeFaults(&metadata);
  EXPECT_EQ(faults.abort, std::nullopt);
  EXPECT_EQ(faults.delay, std::nullopt);
  EXPECT_TRUE(metadata.empty());
}

}  // namespace
}  // namespace mesh::channel
