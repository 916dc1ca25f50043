// A client of the benches of identities: calls in an open loop, new connections
// beside them, and a stream that never ends. It prints the address of its
// control, then an empty line, and runs until it is killed.
//
//   identity_client --rate=CALLS_PER_SECOND --servers=ADDRESS,...
//       --config=FILE --fresh_config=FILE    mesh
//       --stock=DIR                          gRPC's own
//       [--connects=PER_SECOND --raw=FILE]   new connections, in turn a whole
//                                            new client and a raw handshake
//                                            with what FILE has
//       [--stream]                           a stream that never ends

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/identity/callers.h"
#include "benchmarks/identity/control.grpc.pb.h"
#include "benchmarks/identity/process_side.h"
#include "benchmarks/identity/raw_tls.h"
#include "benchmarks/identity/sightings.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "mesh/base/mutex.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::benchmarks {
namespace {

// A new connection fails that has no OK by then.
constexpr absl::Duration kConnectTime = absl::Seconds(2);
constexpr absl::Duration kBetweenTries = absl::Milliseconds(20);
constexpr absl::Duration kSampleEvery = absl::Milliseconds(20);
constexpr int kConnectThreads = 4;
// A load ends when its process is killed.
constexpr absl::Duration kForever = absl::Hours(24);

// What is counted. Thread-safe.
class Counters {
 public:
  std::atomic<int64_t> calls{0}, failed{0}, late{0};
  std::atomic<int64_t> connects{0}, failed_connects{0};
  std::atomic<int64_t> streams_ended{0};

  // Keeps the first few until somebody asks.
  void Failed(const std::string& why) {
    base::MutexLock lock(&mu_);
    if (failures_.size() < kMostFailures) failures_.push_back(why);
  }

  void Tell(identity::Stats* stats) {
    stats->set_calls(calls);
    stats->set_failed(failed);
    stats->set_late(late);
    stats->set_connects(connects);
    stats->set_failed_connects(failed_connects);
    stats->set_streams_ended(streams_ended);
    base::MutexLock lock(&mu_);
    for (std::string& failure : failures_) {
      stats->add_failures(std::move(failure));
    }
    failures_.clear();
  }

 private:
  static constexpr size_t kMostFailures = 5;

  base::Mutex mu_;
  std::vector<std::string> failures_ ABSL_GUARDED_BY(mu_);
};

// Notes who answered over which connection: the reply says how the server sees
// this end of it.
void NoteServer(const grpc::ClientContext& context, const test::Reply& reply,
                Sightings* sightings) {
  const auto connection = context.auth_context();
  if (connection == nullptr || reply.seen().peer().empty()) return;
  sightings->Note(PortOf(reply.seen().peer()), PortOf(context.peer()),
                  *connection);
}

// New connections at a fixed rate, in turn a new client and a raw handshake.
class Connects {
 public:
  Connects(double rate, std::string raw_file, std::vector<std::string> servers,
           Caller* caller, Counters* counters)
      : interval_(absl::Seconds(1 / rate)),
        raw_file_(std::move(raw_file)),
        servers_(std::move(servers)),
        caller_(caller),
        counters_(counters),
        start_(Now()) {
    for (int i = 0; i < kConnectThreads; ++i) {
      std::thread([this, i] { Work(i); }).detach();
    }
  }

 private:
  [[noreturn]] void Work(int first) {
    for (int i = first;; i += kConnectThreads) {
      const absl::Time due = std::max(start_ + i * interval_, Now());
      absl::SleepFor(due - Now());
      std::string why;
      const bool raw = i % 2 == 1;
      const bool good = raw ? Handshake(i / 2, due + kConnectTime, &why)
                            : caller_->StartAndCall(due + kConnectTime, &why);
      ++counters_->connects;
      if (good) continue;
      ++counters_->failed_connects;
      counters_->Failed(
          absl::StrCat(raw ? "raw handshake: " : "new client: ", why));
    }
  }

  bool Handshake(int turn, absl::Time deadline, std::string* why) const {
    const std::string& server = servers_[turn % servers_.size()];
    for (; Now() < deadline; absl::SleepFor(kBetweenTries)) {
      const absl::StatusOr<RawIdentity> identity =
          RawIdentity::Parse(Contents(raw_file_));
      if (!identity.ok()) {
        *why = std::string(identity.status().message());
        continue;
      }
      const auto context = RawContext::Make(*identity, /*verify=*/true);
      if (!context.ok()) {
        *why = std::string(context.status().message());
        continue;
      }
      const auto connection =
          RawConnection::Dial(server, *context, deadline - Now());
      if (connection != nullptr && connection->Hello()) return true;
      *why = connection == nullptr ? "no handshake" : "no HTTP/2";
    }
    return false;
  }

  const absl::Duration interval_;
  const std::string raw_file_;
  const std::vector<std::string> servers_;
  Caller* const caller_;
  Counters* const counters_;
  const absl::Time start_;
};

// Holds a stream open, for ever. When it ends, another one begins.
[[noreturn]] void HoldStream(Caller* caller, Sightings* sightings,
                             Counters* counters) {
  while (true) {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    const StubPtr stub = caller->stub();
    const auto stream = stub->Bidi(&context);
    test::Reply reply;
    stream->Write(test::Request());
    const bool begun = stream->Read(&reply);
    if (begun) NoteServer(context, reply, sightings);
    while (stream->Read(&reply)) {
    }
    (void)stream->Finish();  // It ends by a withdrawal, or its server's death.
    if (begun) ++counters->streams_ended;
    absl::SleepFor(kBetweenTries);
  }
}

class Steering final : public identity::Control::Service {
 public:
  Steering(Caller* caller, Counters* counters, Sightings* sightings)
      : caller_(caller), counters_(counters), sightings_(sightings) {}

  grpc::Status GetStats(grpc::ServerContext*,
                        const identity::StatsRequest* request,
                        identity::Stats* stats) override {
    counters_->Tell(stats);
    sightings_->Take(stats);
    caller_->Tell(stats);
    if (request->memory()) TellMemory(stats);
    return grpc::Status::OK;
  }

  grpc::Status AwaitSerial(grpc::ServerContext*,
                           const identity::AwaitRequest* request,
                           identity::AwaitReply* reply) override {
    base::MutexLock lock(&one_at_a_time_);
    const absl::Time end = Now() + absl::Milliseconds(request->timeout_ms());
    for (absl::Time next = Now(); next < end;
         next = std::max(next + kSampleEvery, Now())) {
      absl::SleepFor(next - Now());
      reply->set_samples(reply->samples() + 1);
      if (caller_->SerialOfNewConnection() == request->serial()) {
        reply->set_at_ns(absl::ToUnixNanos(Now()));
        break;
      }
    }
    return grpc::Status::OK;
  }

 private:
  Caller* const caller_;
  Counters* const counters_;
  Sightings* const sightings_;
  base::Mutex one_at_a_time_;
};

int Run(int argc, char** argv) {
  Flags flags = ParseFlags(argc, argv,
                           {"rate", "servers", "config", "fresh_config",
                            "stock", "connects", "raw", "stream"});
  const std::vector<std::string> servers =
      absl::StrSplit(flags["servers"], ',');
  double rate = 0, connects = 0;
  if (!absl::SimpleAtod(flags["rate"], &rate) || rate <= 0) Die("no rate");
  const std::unique_ptr<Caller> caller =
      flags.count("stock") > 0
          ? MakeStockCaller(flags["stock"], servers)
          : MakeMeshCaller(flags["config"], flags["fresh_config"]);
  Counters counters;
  Sightings sightings(Sightings::End::kClient);
  OpenLoop::Options options;
  options.longest = kForever;
  options.taker = [&](const Outcome& outcome,
                      const grpc::ClientContext& context,
                      const test::Reply& reply) {
    ++counters.calls;
    if (outcome.ok()) {
      NoteServer(context, reply, &sightings);
      return;
    }
    ++counters.failed;
    counters.late += outcome.late && outcome.code == 0 ? 1 : 0;
    counters.Failed(outcome.late ? "call: late start"
                                 : absl::StrCat("call: code ", outcome.code,
                                                " (", outcome.why, ")"));
  };
  const OpenLoop load(
      rate, [&caller] { return caller->stub(); }, std::move(options));
  std::unique_ptr<Connects> fresh;
  if (absl::SimpleAtod(flags["connects"], &connects) && connects > 0) {
    fresh = std::make_unique<Connects>(connects, flags["raw"], servers,
                                       caller.get(), &counters);
  }
  if (flags.count("stream") > 0) {
    std::thread(HoldStream, caller.get(), &sightings, &counters).detach();
  }
  Steering steering(caller.get(), &counters, &sightings);
  const ControlServer control(&steering);
  AnnounceAndStay({control.address()});
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }
