#include "benchmarks/identity/steered.h"

#include <signal.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kAnswerTime = absl::Seconds(2);
constexpr int kTries = 20;
constexpr absl::Duration kBetweenTries = absl::Milliseconds(50);

void SetDeadline(absl::Duration timeout, grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        absl::ToChronoMicroseconds(timeout));
}

}  // namespace

std::string IdentityProgram(const std::string& name) {
  return absl::StrCat(test::ProgramDirectory(), "/identity/", name);
}

Steered::Steered(std::vector<std::string> argv) : argv_(std::move(argv)) {
  Start();
}

void Steered::Start() {
  // A port may be a client's for a moment, and files may be half written.
  for (int i = 0; i < kTries; ++i) {
    process_ = StartChild(argv_);
    const std::vector<std::string> addresses = ReadAddresses(process_.get());
    if (addresses.empty()) {
      absl::SleepFor(kBetweenTries);
      continue;
    }
    if (addresses.size() == 2) {
      // The next one is to have the same port.
      for (std::string& word : argv_) {
        if (word == "--port=0") {
          word = absl::StrCat("--port=", PortOf(addresses[0]));
        }
      }
    }
    base::MutexLock lock(&mu_);
    address_ = addresses.size() == 2 ? addresses[0] : "";
    control_ = identity::Control::NewStub(grpc::CreateChannel(
        addresses.back(), grpc::InsecureChannelCredentials()));
    return;
  }
  Die(absl::StrCat("no ", argv_[0]));
}

std::string Steered::address() const {
  base::MutexLock lock(&mu_);
  return address_;
}

std::shared_ptr<identity::Control::Stub> Steered::control() const {
  base::MutexLock lock(&mu_);
  return control_;
}

bool Steered::Runs() { return !process_->Ended(); }

void Steered::Restart() {
  process_->Signal(SIGKILL);
  (void)process_->Wait();
  Start();
}

std::optional<identity::Stats> Steered::Ask(bool memory) {
  grpc::ClientContext context;
  SetDeadline(kAnswerTime, &context);
  identity::StatsRequest request;
  request.set_memory(memory);
  identity::Stats stats;
  if (!control()->GetStats(&context, request, &stats).ok()) return std::nullopt;
  return stats;
}

absl::Time Steered::AwaitSerial(const std::string& serial,
                                absl::Duration timeout) {
  grpc::ClientContext context;
  SetDeadline(timeout + kAnswerTime, &context);
  identity::AwaitRequest request;
  request.set_serial(serial);
  request.set_timeout_ms(absl::ToInt64Milliseconds(timeout));
  identity::AwaitReply reply;
  const grpc::Status status = control()->AwaitSerial(&context, request, &reply);
  if (!status.ok() || reply.at_ns() == 0) return absl::InfiniteFuture();
  return absl::FromUnixNanos(reply.at_ns());
}

bool Steered::Push(int socket, const std::string& answer) {
  grpc::ClientContext context;
  SetDeadline(kAnswerTime, &context);
  identity::PushRequest request;
  request.set_socket(socket);
  request.set_answer(answer);
  identity::PushReply reply;
  return control()->Push(&context, request, &reply).ok();
}

std::set<Pair> LookAtSockets(const std::set<int>& servers) {
  std::set<Pair> pairs;
  for (const char* const file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    pairs.merge(OpenPairs(Contents(file), servers));
  }
  return pairs;
}

void AddSightings(const identity::Stats& stats, ConnectionLog* log) {
  for (const identity::Sighting& sighting : stats.sightings()) {
    const Pair pair = {sighting.client_port(), sighting.server_port()};
    const absl::Time at = absl::FromUnixNanos(sighting.at_ns());
    if (sighting.by_server()) {
      log->SeenByServer(pair, sighting.serial(), at);
    } else {
      log->SeenByClient(pair, sighting.serial(), at);
    }
  }
}

}  // namespace mesh::benchmarks
