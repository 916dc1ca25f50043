// Clients of the outages bench that are processes of their own: each prints one
// line of numbers.
//
//   outages_client first_call mesh CONFIG.yaml MILLISECONDS
//   outages_client first_call bare ADDRESS,... MILLISECONDS
//       A fresh client's first call with that deadline: its status code, how
//       long it took in milliseconds, which server answered ("-" for none).
//       Then it stays, without a call, until its stdin ends.
//   outages_client churn CALLS_PER_SECOND ADDRESS,... ADDRESS,...
//       1,000 reloads from one list to the other and back: descriptors that
//       are open before, and 10 s later.
//   outages_client connected mesh|bare FILE
//       One call to each target of the file but the first, which is to warm up:
//       by how many bytes the resident set has grown.
//   outages_client known CONFIG.yaml
//       Bytes of heap in use once the endpoints are known.

#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace mesh::benchmarks {
namespace {

using Stub = test::TestService::Stub;

constexpr int kReloads = 1000;
constexpr absl::Duration kReloadEvery = absl::Milliseconds(5);

std::unique_ptr<Mesh> MeshOf(const std::string& file) {
  Options options;
  options.log_sink = [](LogSeverity, absl::string_view) {};
  auto mesh = Mesh::FromFile(file, std::move(options));
  if (!mesh.ok()) Die(mesh.status().message());
  return *std::move(mesh);
}

grpc::Status Call(Stub* stub, absl::Duration deadline, test::Reply* reply) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(deadline));
  test::Request request;
  request.mutable_directives()->set_echo(true);
  return stub->Unary(&context, request, reply);
}

int FirstCall(bool bare, const std::string& where, int milliseconds) {
  const absl::Time start = Now();
  std::unique_ptr<Mesh> mesh;
  if (!bare) mesh = MeshOf(where);
  const auto stub =
      bare ? test::TestService::NewStub(BareChannel(absl::StrSplit(where, ',')))
           : test::TestService::NewStub(mesh->Channel("test"));
  test::Reply reply;
  const grpc::Status status =
      Call(stub.get(), absl::Milliseconds(milliseconds), &reply);
  const std::string& by = reply.seen().server();
  std::printf("%d %.1f %s\n", static_cast<int>(status.error_code()),
              absl::ToDoubleMilliseconds(Now() - start),
              by.empty() ? "-" : by.c_str());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  std::_Exit(0);
}

v1::Config ConfigOf(const std::string& addresses) {
  v1::Config config = OneService();
  for (const absl::string_view address : absl::StrSplit(addresses, ',')) {
    TheService(&config).add_endpoints()->set_address(std::string(address));
  }
  return config;
}

int Churn(double rate, const std::string& one, const std::string& other) {
  const v1::Config configs[] = {ConfigOf(one), ConfigOf(other)};
  MeshClient client(configs[0]);
  std::optional<OpenLoop> load;
  if (rate > 0) load.emplace(rate, [&client] { return client.stub(); });
  absl::SleepFor(absl::Seconds(3));
  const int64_t before = Descriptors();
  const absl::Time start = Now();
  for (int i = 1; i <= kReloads; ++i) {
    absl::SleepFor(start + i * kReloadEvery - Now());
    const absl::Status status = client.mesh().Reload(configs[i % 2]);
    if (!status.ok()) Die(status.message());
  }
  absl::SleepFor(absl::Seconds(10));
  const int64_t after = Descriptors();
  int64_t failed = 0;
  if (load.has_value()) {
    const std::vector<Outcome> outcomes = load->Stop();
    for (const Outcome& outcome : outcomes) failed += outcome.ok() ? 0 : 1;
    if (failed > 0) Progress("  churn: " + FailuresOf(outcomes));
  }
  std::printf("%lld %lld %lld\n", static_cast<long long>(before),
              static_cast<long long>(after), static_cast<long long>(failed));
  std::fflush(stdout);
  std::_Exit(0);
}

int Connected(bool bare, const std::string& file) {
  std::ifstream lines(file);
  std::vector<std::string> targets;
  for (std::string line; std::getline(lines, line);) targets.push_back(line);
  std::vector<std::unique_ptr<Stub>> stubs;
  int64_t before = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    stubs.push_back(
        bare ? test::TestService::NewStub(grpc::CreateChannel(
                   targets[i], grpc::InsecureChannelCredentials()))
             : test::TestService::NewStub(mesh::CreateChannel(targets[i])));
    test::Reply reply;
    const grpc::Status status =
        Call(stubs.back().get(), absl::Seconds(10), &reply);
    if (!status.ok()) Die(targets[i] + ": " + status.error_message());
    if (i > 0) continue;
    absl::SleepFor(absl::Seconds(1));
    before = Resident();
  }
  // What is under way to the side of the calls ends.
  absl::SleepFor(absl::Seconds(1));
  std::printf("%lld\n", static_cast<long long>(Resident() - before));
  std::fflush(stdout);
  std::_Exit(0);
}

bool HasEndpoints(const Mesh& mesh) {
  const telemetry::Snapshot snapshot = mesh.Metrics();
  return !snapshot.services.empty() &&
         snapshot.services[0].discovery_updates > 0;
}

int Known(const std::string& config) {
  const std::unique_ptr<Mesh> mesh = MeshOf(config);
  const auto stub = test::TestService::NewStub(mesh->Channel("test"));
  const absl::Time deadline = Now() + absl::Seconds(30);
  while (!HasEndpoints(*mesh)) {
    if (Now() > deadline) Die("no endpoints are known after 30 s");
    absl::SleepFor(absl::Milliseconds(100));
  }
  absl::SleepFor(absl::Seconds(3));
  malloc_trim(0);
  const struct mallinfo2 heap = mallinfo2();
  std::printf("%zu\n", heap.uordblks + heap.hblkhd);
  std::fflush(stdout);
  std::_Exit(0);
}

int Run(const std::vector<std::string>& words) {
  const std::string mode = words.empty() ? "" : words[0];
  int number = 0;
  if (words.size() == 4 && mode == "first_call" &&
      absl::SimpleAtoi(words[3], &number)) {
    return FirstCall(words[1] == "bare", words[2], number);
  }
  if (words.size() == 4 && mode == "churn" &&
      absl::SimpleAtoi(words[1], &number)) {
    return Churn(number, words[2], words[3]);
  }
  if (words.size() == 3 && mode == "connected") {
    return Connected(words[1] == "bare", words[2]);
  }
  if (words.size() == 2 && mode == "known") return Known(words[1]);
  std::fprintf(stderr,
               "usage: outages_client first_call|churn|connected|known ...\n");
  return 2;
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) {
  return mesh::benchmarks::Run(std::vector<std::string>(argv + 1, argv + argc));
}
