// Rows of what connections and endpoints cost in memory.

#include <signal.h>

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/world.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {
namespace {

constexpr int kTargets = 1000;
constexpr int kRepetitions = 5;

// What a client process says.
double NumberOf(const std::vector<std::string>& words) {
  std::vector<std::string> argv = {ProgramPath("outages_client")};
  argv.insert(argv.end(), words.begin(), words.end());
  const auto process = StartChild(std::move(argv));
  const absl::StatusOr<std::string> line = process->ReadLine(absl::Minutes(2));
  double value = 0;
  if (!line.ok() || !absl::SimpleAtod(*line, &value)) {
    Die("a client of the memory row says nothing");
  }
  return value;
}

void ConnectedRow(Figures* figures) {
  std::vector<double> mesh, bare;
  for (int i = 0; i < kRepetitions; ++i) {
    Progress(absl::StrCat("memory, connected, ", i + 1, " of ", kRepetitions));
    Server::Options options;
    options.name = "s";
    options.addresses.assign(kTargets + 1, "127.0.0.1:0");
    const Server server(std::move(options));
    const test::TempDirectory directory;
    const std::string file = directory.Write(
        "targets", absl::StrJoin(server.addresses(), "\n") + "\n");
    mesh.push_back(NumberOf({"connected", "mesh", file}) / kTargets);
    bare.push_back(NumberOf({"connected", "bare", file}) / kTargets);
  }
  const double ours = MedianOf(mesh).median;
  const double theirs = MedianOf(bare).median;
  figures->Tell("memory.connected_bytes", ours);
  figures->Tell("bare.memory.connected_bytes", theirs);
  figures->Judge("memory.connected_ratio", ours / theirs, AtMost(1.15));
}

void KnownRow(Figures* figures) {
  constexpr int kFew = 10000, kMany = 20000;
  const test::TempDirectory directory;
  const auto heap = [&](int count) {
    std::vector<Place> places;
    for (int i = 0; i < count; ++i) {
      places.push_back(
          {absl::StrFormat("127.1.%d.%d:7001", i / 250, 1 + i % 250)});
    }
    const EndpointList list(places);
    const std::string config = directory.Write(
        "mesh.yaml",
        absl::StrCat("services:\n  test:\n    endpoints_file: {path: \"",
                     list.path(),
                     "\"}\n    policy: {idempotent: true}\n"
                     "    connections: {ahead: 0}\n"));
    return NumberOf({"known", config});
  };
  std::vector<double> bytes;
  for (int i = 0; i < kRepetitions; ++i) {
    Progress(absl::StrCat("memory, known, ", i + 1, " of ", kRepetitions));
    bytes.push_back((heap(kMany) - heap(kFew)) / (kMany - kFew));
  }
  figures->Judge("memory.known_bytes", MedianOf(bytes).median, AtMost(400));
}

// Connections above four, a minute after an outage of all endpoints. The load
// goes on for 5 s after the outage; then nobody calls.
int Surplus(bool bare) {
  constexpr int kEndpoints = 40, kAhead = 4;
  Servers servers = StartServers("s", kEndpoints);
  const std::vector<std::string> addresses = AddressesOf(servers);
  const EndpointList list{Places(addresses)};
  std::unique_ptr<Client> client;
  if (bare) {
    client = std::make_unique<BareClient>(addresses);
  } else {
    v1::Config config = ServiceIn(list);
    TheService(&config).mutable_connections()->set_ahead(kAhead);
    client = std::make_unique<MeshClient>(config);
  }
  OpenLoop load(100, [&client] { return client->stub(); });
  absl::SleepFor(absl::Seconds(3));
  for (const auto& server : servers) server->Kill();
  absl::SleepFor(absl::Seconds(5));
  for (const auto& server : servers) server->Start();
  const absl::Time over = Now();
  absl::SleepFor(absl::Seconds(5));
  (void)load.Stop();
  absl::SleepFor(over + absl::Seconds(60) - Now());
  const auto open =
      static_cast<int>(ConnectionsTo(addresses, kEstablished).size());
  return std::max(open - kAhead, 0);
}

}  // namespace

void Memory(Figures* figures) {
  ConnectedRow(figures);
  KnownRow(figures);
  Progress("memory, surplus");
  auto other = std::async(std::launch::async, Surplus, true);
  const int surplus = Surplus(false);
  figures->Judge("memory.surplus", surplus, AtMost(0));
  figures->Tell("bare.memory.surplus", other.get());
}

}  // namespace mesh::benchmarks
