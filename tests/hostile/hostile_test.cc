// Servers that misbehave: whatever they do, the process neither crashes nor
// spins, calls go to the others, and the bad one attracts no traffic.

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/observer.h"
#include "tests/hostile/peer.h"
#include "tests/scenario/scenario.h"

namespace mesh::test {
namespace {

constexpr absl::Duration kSettle = absl::Seconds(1);
constexpr absl::Duration kMeasure = absl::Seconds(2);

// CPU time of this process until now, all threads.
absl::Duration CpuTime() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) +
         absl::DurationFromTimeval(usage.ru_stime);
}

// Counts attempts that begin at one address, and at all.
class ShareCounter final : public telemetry::Observer {
 public:
  explicit ShareCounter(std::string address) : address_(std::move(address)) {}

  void OnAttemptEnd(const telemetry::CallInfo&,
                    const telemetry::AttemptEvent& event) override {
    ++all_;
    if (event.endpoint.address() == address_) ++here_;
  }
  int64_t all() const { return all_; }
  int64_t here() const { return here_; }

 private:
  const std::string address_;
  std::atomic<int64_t> all_{0};
  std::atomic<int64_t> here_{0};
};

grpc::Status CallFor(TestService::Stub& stub, absl::Duration time,
                     const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMilliseconds(time));
  Reply reply;
  return stub.Unary(&context, request, &reply);
}

// What became of a load on two servers and a bad one.
struct Outcome {
  int64_t calls = 0;
  int64_t failed = 0;
  std::string failures;
  // The bad one's share of the attempts, once it has settled.
  double share_of_bad = 0;
  // CPU time over the time that it took; 1 is one core that is always busy.
  double cpu = 0;
};

class HostileTest : public testing::Test {
 protected:
  // Loads two servers that take 5 ms per call, and `bad`. `adjust` changes the
  // service.
  Outcome LoadWith(const std::string& bad,
                   const std::function<void(v1::Service&)>& adjust = {},
                   const Request& request = Slow()) {
    ServerProcess good[2];
    v1::Config config = OneService({good[0].address(), good[1].address(), bad});
    TheService(&config).mutable_policy()->set_idempotent(true);
    if (adjust) adjust(TheService(&config));
    const auto counter = std::make_shared<ShareCounter>(bad);
    Options options;
    options.observers.push_back(counter);
    options.log_sink = [](LogSeverity, absl::string_view) {};
    const std::unique_ptr<Mesh> mesh = MakeMesh(config, std::move(options));
    const auto stub = StubOf(*mesh);

    const absl::Duration cpu_before = CpuTime();
    const absl::Time start = absl::Now();
    Load load(300, 24, [&](int64_t) {
      return CallFor(*stub, absl::Seconds(2), request);
    });
    absl::SleepFor(kSettle);
    const int64_t all = counter->all(), here = counter->here();
    absl::SleepFor(kMeasure);
    Outcome outcome;
    outcome.share_of_bad = static_cast<double>(counter->here() - here) /
                           static_cast<double>(counter->all() - all);
    load.Stop();
    outcome.cpu =
        absl::FDivDuration(CpuTime() - cpu_before, absl::Now() - start);
    outcome.calls = load.calls();
    outcome.failed = load.failed();
    outcome.failures = load.Failures();
    return outcome;
  }

  static Request Slow() {
    Request request;
    request.mutable_directives()->set_sleep_ms(5);
    return request;
  }

  // Only `bad` serves anything: calls fail, in time, and cheaply.
  static Outcome LoadOnlyOn(const std::string& bad) {
    v1::Config config = OneService({bad});
    TheService(&config).mutable_policy()->set_idempotent(true);
    Options options;
    options.log_sink = [](LogSeverity, absl::string_view) {};
    const std::unique_ptr<Mesh> mesh = MakeMesh(config, std::move(options));
    const auto stub = StubOf(*mesh);
    const absl::Duration cpu_before = CpuTime();
    const absl::Time start = absl::Now();
    Load load(100, 8, [&](int64_t) {
      return CallFor(*stub, absl::Milliseconds(300), Request());
    });
    absl::SleepFor(kMeasure);
    load.Stop();
    Outcome outcome;
    outcome.cpu =
        absl::FDivDuration(CpuTime() - cpu_before, absl::Now() - start);
    outcome.calls = load.calls();
    outcome.failed = load.failed();
    outcome.failures = load.Failures();
    return outcome;
  }
};

// A way to misbehave as a connection of its own.
struct BadManners {
  const char* name;
  Peer::Behaviour behave;
  // Calls that may fail before it is found out. They end with a status that is
  // not retried, or their deadline passes.
  int may_fail = 0;
  // What a server says is OK is an answer to gRPC, and so to mesh, also when
  // the generated stub can't make a message of it.
  bool seems_well = false;
  // It gets less than this share of the calls. Fast failures would attract far
  // more than a third.
  double may_take = 0.08;
};

void PrintTo(const BadManners& manners, std::ostream* out) {
  *out << manners.name;
}

std::vector<std::pair<std::string, std::string>> Status(const char* code) {
  return {{"grpc-status", code}};
}

// Answers each request with what `bytes` makes for its stream.
Peer::Behaviour Answering(std::function<std::string(uint32_t stream)> bytes) {
  return [bytes = std::move(bytes)](Connection& connection) {
    if (!connection.Handshake()) return;
    connection.Serve(
        [&](uint32_t stream) { return connection.Send(bytes(stream)); });
  };
}

void AddBadConnections(std::vector<BadManners>& all) {
  all.push_back({"AcceptsAndCloses", [](Connection&) {}});
  all.push_back(
      {"AcceptsAndResets", [](Connection& connection) { connection.Reset(); }});
  all.push_back({"AcceptsAndSaysNothing",
                 [](Connection& connection) { connection.Ignore(); }});
  all.push_back({"SpeaksHttp1", [](Connection& connection) {
                   connection.Send("HTTP/1.1 400 Bad Request\r\n\r\n");
                   connection.Ignore();
                 }});
  all.push_back({"ShakesHandsAndResets", [](Connection& connection) {
                   connection.Handshake();
                   connection.Reset();
                 }});
  all.push_back({"ShakesHandsAndNeverAnswers",
                 [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   connection.Serve([](uint32_t) { return true; });
                 },
                 // This holds on each of its two connections, until that one is
                 // silent.
                 /*may_fail=*/40});
  // All calls that are on the connection are retried at once, while the budget
  // lasts.
  all.push_back({"ClosesOnTheFirstRequest",
                 [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   connection.Serve([](uint32_t) { return false; });
                 },
                 /*may_fail=*/5});
  all.push_back({"ResetsOnTheFirstRequest",
                 [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   connection.Serve([](uint32_t) { return false; });
                   connection.Reset();
                 },
                 /*may_fail=*/5});
  all.push_back({"SendsGoawayAndCloses", [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   connection.Send(Goaway(0, 0, ""));
                 }});
  // A call that comes before the first of them is taken and never answered.
  all.push_back({"SendsGoawayAgainAndAgain",
                 [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   while (connection.Send(Goaway(0x7fffffff, 0, "storm"))) {
                     absl::SleepFor(absl::Milliseconds(1));
                   }
                 },
                 /*may_fail=*/5});
  all.push_back({"SendsGoawayOnEachRequest", [](Connection& connection) {
                   if (!connection.Handshake()) return;
                   connection.Serve([&](uint32_t) {
                     return connection.Send(Goaway(0, 11, "too_many_pings"));
                   });
                 }});
}

void AddBadStatuses(std::vector<BadManners>& all) {
  // Such calls are retried elsewhere, while the budget lasts.
  all.push_back({"RefusesEachStream", Answering([](uint32_t stream) {
                   return RstStream(stream, 7);
                 }),
                 /*may_fail=*/20});
  all.push_back({"ResetsEachStream", Answering([](uint32_t stream) {
                   return RstStream(stream, 2);
                 }),
                 /*may_fail=*/60});
  all.push_back({"IsUnavailableAtOnce", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("14"));
                 }),
                 // A trial takes some 17 calls, more than the budget has
                 // retries for.
                 /*may_fail=*/40});
  all.push_back({"FailsAtOnce", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("13"));
                 }),
                 /*may_fail=*/60});
  all.push_back({"IsExhaustedAtOnce", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("8"));
                 }),
                 // RESOURCE_EXHAUSTED is load, for which nobody is ejected.
                 /*may_fail=*/250, /*seems_well=*/false, /*may_take=*/0.25});
  all.push_back({"SaysAStatusThatIsNone", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("4711"));
                 }),
                 /*may_fail=*/60});
  all.push_back({"SaysAStatusThatIsNoNumber", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("-1x"));
                 }),
                 /*may_fail=*/60});
  all.push_back({"SaysNoStatus", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, {});
                 }),
                 /*may_fail=*/60});
  all.push_back({"SaysOkWithoutAMessage", Answering([](uint32_t stream) {
                   return TrailersOnly(stream, Status("0"));
                 }),
                 /*may_fail=*/60, /*seems_well=*/true});
}

void AddBadMessages(std::vector<BadManners>& all) {
  all.push_back({"AnnouncesAMessageOf4GB", Answering([](uint32_t stream) {
                   return ResponseHeaders(stream) +
                          Frame(kData, 0, stream,
                                std::string("\0\xff\xff\xff\xff", 5));
                 }),
                 /*may_fail=*/60});
  all.push_back({"SendsGarbageForAMessage", Answering([](uint32_t stream) {
                   return ResponseHeaders(stream) +
                          Frame(kData, 0, stream,
                                std::string("\x07\0\0\0\x03\xff\xff\xff", 8)) +
                          TrailersOnly(stream, Status("0"));
                 }),
                 /*may_fail=*/60, /*seems_well=*/true});
  // Frames hold 16 KiB at most; the client allows 8 KiB of metadata.
  all.push_back({"SendsHugeTrailers", Answering([](uint32_t stream) {
                   const std::string kilobyte(1000, 'x');
                   std::string bytes = Frame(
                       kHeaders, kEndStream, stream,
                       HeaderBlock({{":status", "200"},
                                    {"content-type", "application/grpc"}}));
                   for (int i = 0; i < 100; ++i) {
                     bytes +=
                         Frame(kContinuation, 0, stream,
                               HeaderBlock({{absl::StrCat("x", i), kilobyte}}));
                   }
                   return bytes + Frame(kContinuation, kEndHeaders, stream,
                                        HeaderBlock(Status("14")));
                 }),
                 /*may_fail=*/60});
  all.push_back(
      {"SendsTrailersWithoutEnd",
       [](Connection& connection) {
         if (!connection.Handshake()) return;
         connection.Serve([&](uint32_t stream) {
           const std::string more =
               Frame(kContinuation, 0, stream,
                     HeaderBlock({{"more", std::string(1000, 'x')}}));
           if (!connection.Send(Frame(
                   kHeaders, kEndStream, stream,
                   HeaderBlock({{":status", "200"},
                                {"content-type", "application/grpc"}})))) {
             return false;
           }
           while (connection.Send(more)) {
             absl::SleepFor(absl::Milliseconds(1));
           }
           return false;
         });
       },
       // This holds on each of its two connections, until that one is silent.
       /*may_fail=*/40});
}

void AddBadPushbacks(std::vector<BadManners>& all) {
  for (const char* pushback :
       {"99999999999999999999999", "9223372036854775807", "2147483648", "-1",
        "-99999999999999999999999", "1e9", "soon", "0x10", ""}) {
    const std::string name = absl::StrCat(
        "PushesBackWith", absl::string_view(pushback).substr(0, 12), "_",
        all.size());
    // For as long as the process.
    static auto* const names = new std::deque<std::string>;
    names->push_back(name);
    all.push_back({names->back().c_str(),
                   Answering([pushback](uint32_t stream) {
                     auto trailers = Status("14");
                     trailers.emplace_back("grpc-retry-pushback-ms", pushback);
                     return TrailersOnly(stream, trailers);
                   }),
                   /*may_fail=*/60});
  }
}

std::vector<BadManners> AllBadManners() {
  std::vector<BadManners> all;
  AddBadConnections(all);
  AddBadStatuses(all);
  AddBadMessages(all);
  AddBadPushbacks(all);
  return all;
}

class BadMannersTest : public HostileTest,
                       public testing::WithParamInterface<BadManners> {};

// gRPC's headers keep a number that is no status in an enumeration. UBSan,
// which comes with ASan here, ends a program for that.
bool OffendsUbsanInGrpc(const BadManners& manners) {
#if defined(__SANITIZE_ADDRESS__)
  return absl::string_view(manners.name) == "SaysAStatusThatIsNone";
#else
  return false;
#endif
}

TEST_P(BadMannersTest, CallsGoToTheOthers) {
  if (OffendsUbsanInGrpc(GetParam())) GTEST_SKIP();
  const Peer peer(GetParam().behave);
  const Outcome outcome = LoadWith(peer.address());
  if (!GetParam().seems_well) {
    EXPECT_LE(outcome.failed, GetParam().may_fail)
        << "of " << outcome.calls << ":\n"
        << outcome.failures;
    EXPECT_LT(outcome.share_of_bad, GetParam().may_take);
  }
  EXPECT_LT(outcome.cpu, 0.8);
  EXPECT_LE(peer.connections(), 60) << "in about 3 s";
}

TEST_P(BadMannersTest, CallsFailInTimeWhenThereIsNoOther) {
  if (OffendsUbsanInGrpc(GetParam())) GTEST_SKIP();
  const Peer peer(GetParam().behave);
  const Outcome outcome = LoadOnlyOn(peer.address());
  EXPECT_EQ(outcome.failed, outcome.calls);
  EXPECT_GT(outcome.calls, 8) << outcome.failures;
  EXPECT_LT(outcome.cpu, 0.8);
  EXPECT_LE(peer.connections(), 200) << outcome.failures;
}

std::string NameOf(const testing::TestParamInfo<BadManners>& info) {
  std::string name;
  for (const char c : absl::string_view(info.param.name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') name += c;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, BadMannersTest,
                         testing::ValuesIn(AllBadManners()), NameOf);

// Metadata that gRPC would not send, though it may take it from a peer.
struct BadMetadata {
  const char* name;
  std::string key;
  std::string value;
};

void PrintTo(const BadMetadata& metadata, std::ostream* out) {
  *out << metadata.name;
}

class BadMetadataTest : public testing::TestWithParam<BadMetadata> {
 protected:
  // Answers each request with the bad metadata, first and last, among good.
  Peer::Behaviour With(const char* status, const std::string& message) {
    std::vector<std::pair<std::string, std::string>> metadata = {
        {"before", "1"}, {GetParam().key, GetParam().value}, {"after", "2"}};
    std::vector<std::pair<std::string, std::string>> first = {
        {":status", "200"}, {"content-type", "application/grpc"}};
    first.insert(first.end(), metadata.begin(), metadata.end());
    metadata.emplace_back("grpc-status", status);
    metadata.emplace_back("grpc-message", "caf\xe9");
    return Answering([first, metadata, message](uint32_t stream) {
      return Frame(kHeaders, kEndHeaders, stream, HeaderBlock(first)) +
             Frame(kData, 0, stream, message) +
             Frame(kHeaders, kEndHeaders | kEndStream, stream,
                   HeaderBlock(metadata));
    });
  }

  // What a call ended with, and what gRPC could have sent of its metadata.
  struct End {
    int code = -1;
    std::string message;
    std::map<std::string, std::string> initial;
    std::map<std::string, std::string> trailing;
    bool operator==(const End& other) const {
      return code == other.code && message == other.message &&
             initial == other.initial && trailing == other.trailing;
    }
    friend std::ostream& operator<<(std::ostream& out, const End& end) {
      out << end.code << " " << absl::CHexEscape(end.message);
      for (const auto& [k, v] : end.initial) out << " <" << k << "=" << v;
      for (const auto& [k, v] : end.trailing) out << " >" << k << "=" << v;
      return out;
    }
  };
  static End CallOn(TestService::Stub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(20));
    Reply reply;
    const grpc::Status status = stub.Unary(&context, Request(), &reply);
    End end;
    end.code = status.error_code();
    end.message = status.error_message();
    const auto good = [](const auto& all) {
      std::map<std::string, std::string> kept;
      for (const auto& [key, value] : all) {
        if (key == "before" || key == "after") {
          kept.emplace(std::string(key.data(), key.size()),
                       std::string(value.data(), value.size()));
        }
      }
      return kept;
    };
    end.initial = good(context.GetServerInitialMetadata());
    end.trailing = good(context.GetServerTrailingMetadata());
    return end;
  }

  // Calls on mesh end as on a bare channel, whether their own attempt was
  // answered, or a hedge because another server is silent.
  void ExpectEndsAsOnABareChannel(const Peer& bad) {
    const auto bare = TestService::NewStub(
        grpc::CreateChannel(bad.address(), grpc::InsecureChannelCredentials()));
    const End expected = CallOn(*bare);
    const Peer silent([](Connection& connection) {
      if (!connection.Handshake()) return;
      connection.Serve([](uint32_t) { return true; });
    });
    v1::Config config = OneService({bad.address(), silent.address()});
    v1::Service& service = TheService(&config);
    service.mutable_silence()->set_mode(v1::MODE_OFF);
    service.mutable_outlier_ejection()->set_mode(v1::MODE_OFF);
    service.mutable_policy()->set_idempotent(true);
    v1::Hedging& hedging = *service.mutable_policy()->mutable_hedging();
    hedging.set_mode(v1::MODE_ENFORCE);
    hedging.mutable_delay()->set_nanos(10000000);
    service.mutable_retry_budget()->set_min_per_second(10000);
    const std::unique_ptr<Mesh> mesh = MakeMesh(config);
    const auto stub = StubOf(*mesh);
    EXPECT_EQ(CallOn(*stub), expected);
    ASSERT_TRUE(WaitUntil([&] {
      const auto endpoints = ServiceMetrics(*mesh).endpoints;
      return endpoints.size() == 2 && endpoints[0].state == "ready" &&
             endpoints[1].state == "ready";
    }));
    constexpr int kCalls = 30;
    for (int i = 0; i < kCalls; ++i) EXPECT_EQ(CallOn(*stub), expected);
    uint64_t hedges = 0;
    for (const auto& method : ServiceMetrics(*mesh).methods) {
      hedges += method.hedges;
    }
    EXPECT_GT(hedges, 0u);
    // gRPC ends the connection with such an answer. Until there is another one,
    // calls begin on the silent server.
    if (absl::string_view(GetParam().name) != "BinaryValueThatIsNone") {
      EXPECT_LT(hedges, uint64_t{kCalls}) << "some need none";
    }
  }
};

TEST_P(BadMetadataTest, AnAnswerIsDeliveredToAHedgedCall) {
  const Peer peer(With("0", std::string(5, '\0')));
  ExpectEndsAsOnABareChannel(peer);
}

TEST_P(BadMetadataTest, AStatusIsDeliveredToAHedgedCall) {
  const Peer peer(With("5", ""));
  ExpectEndsAsOnABareChannel(peer);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadMetadataTest,
    testing::Values(BadMetadata{"ValueBeyondAscii", "x-latin", "caf\xe9"},
                    BadMetadata{"ValueWithALineBreak", "x-line", "a\r\nb: c"},
                    BadMetadata{"ValueWithANul", "x-nul",
                                std::string("a\0b", 3)},
                    BadMetadata{"BinaryValueThatIsNone", "x-bin", "\xe9*"},
                    BadMetadata{"KeyWithASpace", "x y", "1"},
                    BadMetadata{"KeyInCapitals", "X-Capital", "1"},
                    BadMetadata{"KeyBeyondAscii", "caf\xe9", "1"},
                    BadMetadata{"KeyThatIsEmpty", "", "1"},
                    BadMetadata{"KeyOfGrpcs", "grpc-nonsense", "caf\xe9"},
                    BadMetadata{"PseudoHeader", ":path", "caf\xe9"}),
    [](const testing::TestParamInfo<BadMetadata>& info) {
      return info.param.name;
    });

TEST_F(HostileTest, AFullBacklogDelaysNoCall) {
  const FullBacklog full;
  const Outcome outcome = LoadWith(full.address());
  EXPECT_EQ(outcome.failed, 0) << outcome.failures;
  EXPECT_EQ(outcome.share_of_bad, 0);
  EXPECT_LT(outcome.cpu, 0.8);
}

}  // namespace
}  // namespace mesh::test
