// Streams whose connection breaks, before and after they are committed, in all
// styles; and what keeps a stream from being tried again.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/v1/config.pb.h"
#include "tests/matrix/environment.h"
#include "tests/matrix/relay.h"
#include "tests/matrix/script.h"

namespace mesh::test {
namespace {

constexpr int kRelays = 3;

// A mesh over relays to the server that all tests share.
class Broken {
 public:
  explicit Broken(void (*customize)(v1::Service*) = nullptr)
      : relays_(kRelays, Arms::Get().server()->address()) {
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["plain"];
    for (const std::string& address : relays_.addresses()) {
      service.add_endpoints()->set_address(address);
    }
    v1::MethodPolicy& policy = *service.mutable_policy();
    policy.set_idempotent(true);
    policy.mutable_retry()->set_max_attempts(kMaxAttempts);
    policy.mutable_retry()->mutable_initial_backoff()->set_nanos(1000000);
    service.mutable_retry_budget()->set_ratio(1);
    service.mutable_retry_budget()->set_min_per_second(1000);
    if (customize != nullptr) customize(&service);
    mesh_ = mesh::Mesh::Create(config).value();
  }

  std::shared_ptr<grpc::ChannelInterface> channel() {
    return mesh_->Channel("plain");
  }
  Relays& relays() { return relays_; }

  // Until all of them are connected: the next call does not meet one that
  // comes up.
  void Connect() {
    const auto channel = this->channel();
    channel->GetState(true);
    for (int i = 0; i < 2000; ++i) {
      const telemetry::Snapshot metrics = mesh_->Metrics();
      size_t ready = 0;
      for (const auto& service : metrics.services) {
        for (const auto& endpoint : service.endpoints) {
          ready += endpoint.state == "ready";
        }
      }
      if (ready == kRelays) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    FAIL() << "not connected";
  }

 private:
  Relays relays_;
  std::unique_ptr<mesh::Mesh> mesh_;
};

// What differs though all is well: a relay's port.
Trace WithoutPeer(Trace trace) {
  Trace result;
  for (std::string& line : trace) {
    if (!absl::StartsWith(line, "peer ")) result.push_back(std::move(line));
  }
  return result;
}

std::string Lines(const Trace& trace) {
  return absl::StrCat("\n  ", absl::StrJoin(trace, "\n  "));
}

std::vector<Way> StreamWays() {
  std::vector<Way> ways;
  for (const Way& way : AllWays()) {
    if (way.kind != Kind::kUnary) ways.push_back(way);
  }
  return ways;
}

class BrokenStream : public testing::TestWithParam<Way> {
 protected:
  const Kind kind_ = GetParam().kind;
  const Style style_ = GetParam().style;
  Arms& arms_ = Arms::Get();
};

TEST_P(BrokenStream, IsTriedElsewhereBeforeItsAnswerBegins) {
  Script script;
  script.steps = UsualSteps(kind_);
  script.directives.set_replies(3);
  const Played bare =
      Play(script, kind_, style_, arms_.Bare(Flavour::kPlain), arms_.server());

  Broken broken;
  broken.Connect();
  // Only the first execution does not answer.
  script.directives.set_sleep_ms(20000);
  script.directives.set_sleep_first(1);
  const int64_t before = arms_.server()->executions().Count("").executions();
  std::thread breaker([&] {
    while (arms_.server()->executions().Count("").executions() == before) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    broken.relays().BreakLastUsed();
  });
  const Played mesh =
      Play(script, kind_, style_, broken.channel(), arms_.server());
  breaker.join();

  EXPECT_EQ(mesh.executions, 2);
  EXPECT_EQ(WithoutPeer(bare.trace), WithoutPeer(mesh.trace))
      << "bare:" << Lines(bare.trace) << "\nmesh:" << Lines(mesh.trace);
}

TEST_P(BrokenStream, EndsWithItsStatusOnceItsAnswerHasBegun) {
  if (!Reads(kind_) && !CanReadInitialMetadata(kind_, style_)) GTEST_SKIP();
  Broken broken;
  broken.Connect();
  Directives directives;
  directives.set_key(
      absl::StrCat("broken after commit ", Name(kind_), " ", Name(style_)));
  directives.set_replies(3);
  directives.set_initial_metadata_first(!Reads(kind_));
  if (Reads(kind_)) {
    directives.set_reply_interval_ms(20000);
  } else {
    directives.set_sleep_ms(20000);
  }
  auto driver = Driver::Make(kind_, style_, broken.channel());
  driver->context().AddMetadata(kDirectivesKey, directives.SerializeAsString());
  Request request;
  request.set_payload("one");
  ASSERT_TRUE(driver->Start(Writes(kind_) ? Request() : request));
  if (Writes(kind_)) {
    ASSERT_TRUE(driver->Write(request, {}));
  }
  Reply reply;
  if (Reads(kind_)) {
    ASSERT_TRUE(driver->Read(&reply));
    EXPECT_EQ(reply.payload(), "one");
  } else {
    ASSERT_TRUE(driver->ReadInitialMetadata());
  }
  broken.relays().BreakLastUsed();
  if (Reads(kind_)) {
    EXPECT_FALSE(driver->Read(&reply));
  }
  const grpc::Status status = driver->Finish(&reply);

  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(status.error_message().empty());
  EXPECT_EQ(arms_.server()->executions().Count(directives.key()).executions(),
            1);
}

INSTANTIATE_TEST_SUITE_P(All, BrokenStream, testing::ValuesIn(StreamWays()),
                         testing::PrintToStringParamName());

// Many streams at once in all ways, while connections break all the time. Each
// stream is whole, or ends with UNAVAILABLE. What it receives is in order, and
// nothing of it comes twice or from an attempt that sent something else.
TEST(BrokenStreams, AreWholeOrSaySo) {
  Broken broken([](v1::Service* service) {
    v1::MethodPolicy& policy = *service->mutable_policy();
    policy.mutable_retry()->set_max_attempts(10);
    service->mutable_connections()->mutable_initial_backoff()->set_nanos(
        10000000);
    service->mutable_connections()->mutable_max_backoff()->set_nanos(10000000);
  });
  broken.Connect();
  const auto channel = broken.channel();
  constexpr int kThreads = 6;
  constexpr int kMessages = 4;
  std::atomic<bool> over{false};
  std::thread breaker([&] {
    while (!over.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(7));
      broken.relays().BreakLastUsed();
    }
  });
  std::atomic<int> whole{0};
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const std::vector<Way> ways = StreamWays();
      for (int n; (n = next.fetch_add(1)) < 400;) {
        const Way way = ways[n % ways.size()];
        Directives directives;
        directives.set_replies(kMessages);
        // Some take their time before they answer, some between.
        directives.set_sleep_ms(n % 3);
        directives.set_reply_interval_ms(n / 3 % 2);
        auto driver = Driver::Make(way.kind, way.style, channel);
        driver->context().AddMetadata(kDirectivesKey,
                                      directives.SerializeAsString());
        driver->context().set_deadline(std::chrono::system_clock::now() +
                                       std::chrono::seconds(60));
        Request request;
        request.set_payload(absl::StrCat("stream ", n));
        bool good = driver->Start(Writes(way.kind) ? Request() : request);
        int received = 0;
        const auto read = [&] {
          Reply reply;
          if (!driver->Read(&reply)) return false;
          ++received;
          EXPECT_EQ(reply.payload(), request.payload());
          EXPECT_EQ(reply.requests(), way.kind == Kind::kBidi ? received : 1);
          return true;
        };
        if (Writes(way.kind)) {
          for (int m = 0; good && m < kMessages; ++m) {
            good = driver->Write(request, {});
            if (good && way.kind == Kind::kBidi && n % 2 == 0) good = read();
          }
          if (good) good = driver->WritesDone();
        }
        if (Reads(way.kind)) {
          while (read()) {
          }
        }
        Reply reply;
        const grpc::Status status = driver->Finish(&reply);
        if (!status.ok()) {
          EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE)
              << status.error_message();
          continue;
        }
        ++whole;
        if (Reads(way.kind)) {
          EXPECT_EQ(received, kMessages);
        } else {
          EXPECT_EQ(reply.requests(), kMessages);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  over.store(true);
  breaker.join();
  // How many are whole depends on the machine's speed.
  EXPECT_GT(whole.load(), 20);
}

// Streams that fail twice before they answer, on a mesh of its own.
class StreamLimits : public testing::TestWithParam<Way> {
 protected:
  Played Failing(Broken* broken, const std::string& payload,
                 const std::string& pushback = "") {
    Script script;
    script.steps = UsualSteps(GetParam().kind, {payload, payload, payload});
    script.directives.set_replies(1);
    script.directives.set_fail_first(1);
    script.directives.set_pushback_ms(pushback);
    script.writes_may_fail = true;
    return Play(script, GetParam().kind, GetParam().style, broken->channel(),
                Arms::Get().server());
  }
};

TEST_P(StreamLimits, KeepACallThatSentTooMuchFromBeingTriedAgain) {
  Broken broken([](v1::Service* service) {
    service->mutable_policy()->mutable_retry()->set_stream_bytes(2000);
  });
  EXPECT_TRUE(Failing(&broken, "small").status.ok());
  // More than is kept, in one message.
  const Played played = Failing(&broken, std::string(2500, 'l'));
  if (played.status.ok()) {
    // The server, which knows from the metadata that it is to fail, did so
    // before the message was written: there was nothing to be sent again.
    EXPECT_EQ(played.executions, 2);
    return;
  }
  EXPECT_EQ(played.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(played.executions, 1);
}

TEST_P(StreamLimits, AreFollowedWhereAServerPushesBack) {
  Broken broken;
  const Played refused = Failing(&broken, "a", "-1");
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refused.executions, 1);
  const Played delayed = Failing(&broken, "a", "20");
  EXPECT_TRUE(delayed.status.ok());
  EXPECT_EQ(delayed.executions, 2);
}

TEST_P(StreamLimits, AreThoseOfTheRetryBudget) {
  Broken broken([](v1::Service* service) {
    service->mutable_retry_budget()->set_ratio(0);
    service->mutable_retry_budget()->set_min_per_second(0.001);
  });
  int retried = 0;
  for (int i = 0; i < 5; ++i) {
    retried += Failing(&broken, "a").status.ok() ? 1 : 0;
  }
  EXPECT_LE(retried, 1);
}

TEST_P(StreamLimits, KeepWhatMayNotRunTwiceFromRunningTwice) {
  Broken broken([](v1::Service* service) {
    service->mutable_policy()->set_idempotent(false);
  });
  const Played played = Failing(&broken, "a");
  EXPECT_EQ(played.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(played.executions, 1);
}

TEST_P(StreamLimits, LetAStreamThatWaitsForReadyGoToWhomeverIsReady) {
  Broken broken([](v1::Service* service) {
    service->mutable_policy()->set_idempotent(false);
    service->mutable_connections()->mutable_initial_backoff()->set_nanos(
        20000000);
    service->mutable_connections()->mutable_max_backoff()->set_nanos(20000000);
  });
  broken.relays().Refuse();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    broken.relays().Admit();
  });
  Script script;
  script.steps = UsualSteps(GetParam().kind);
  script.directives.set_replies(1);
  script.prepare = [](grpc::ClientContext* context) {
    context->set_wait_for_ready(true);
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
  };
  const Played played = Play(script, GetParam().kind, GetParam().style,
                             broken.channel(), Arms::Get().server());
  later.join();
  EXPECT_TRUE(played.status.ok()) << played.status.error_message();
  EXPECT_EQ(played.executions, 1);
}

TEST_P(StreamLimits, EndAStreamOnWhichNothingMoves) {
  Broken broken([](v1::Service* service) {
    service->mutable_policy()->mutable_idle_timeout()->set_nanos(80000000);
  });
  Script script;
  script.steps = UsualSteps(GetParam().kind);
  script.directives.set_replies(1);
  script.directives.set_sleep_ms(20000);
  script.writes_may_fail = true;
  const Played played = Play(script, GetParam().kind, GetParam().style,
                             broken.channel(), Arms::Get().server());
  EXPECT_EQ(played.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(played.status.error_message(),
              testing::HasSubstr("idle_timeout"));
  EXPECT_EQ(played.executions, 1);
}

TEST_P(StreamLimits, LeaveAStreamAloneOnWhichSomethingMoves) {
  const Style style = GetParam().style;
  if (GetParam().kind != Kind::kBidi ||
      (style != Style::kSync && style != Style::kAsync &&
       style != Style::kCallback)) {
    GTEST_SKIP() << "takes its time";
  }
  Broken broken([](v1::Service* service) {
    service->mutable_policy()->mutable_idle_timeout()->set_seconds(1);
  });
  Script script;
  const std::vector<std::string> requests(6, "a");
  script.steps = UsualSteps(GetParam().kind, requests);
  script.directives.set_replies(6);
  script.directives.set_reply_interval_ms(300);
  const Played played = Play(script, GetParam().kind, GetParam().style,
                             broken.channel(), Arms::Get().server());
  EXPECT_TRUE(played.status.ok()) << played.status.error_message();
}

INSTANTIATE_TEST_SUITE_P(All, StreamLimits, testing::ValuesIn(StreamWays()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace mesh::test
