#include "benchmarks/identity/process_side.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "benchmarks/identity/counting.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace mesh::benchmarks {
namespace {

// The names of metrics that the benches read.
constexpr char kGeneration[] = "mesh_identity_generation";
constexpr char kGenerationsOpen[] = "mesh_generations_open";
// The identity that is that of the process.
constexpr char kProcess[] = "process";

}  // namespace

Flags ParseFlags(int argc, char** argv, const std::set<std::string>& known) {
  // OpenSSL writes to sockets whose other end may be gone.
  signal(SIGPIPE, SIG_IGN);
  // It writes a line for each handshake that fails, which takes time.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  Flags flags;
  for (int i = 1; i < argc; ++i) {
    absl::string_view word = argv[i];
    const bool is_flag = absl::ConsumePrefix(&word, "--");
    const std::pair<std::string, std::string> sides =
        absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (!is_flag || known.count(sides.first) == 0) {
      Die(absl::StrCat("the argument \"", argv[i], "\" is unknown."));
    }
    flags[sides.first] = sides.second;
  }
  return flags;
}

ControlServer::ControlServer(identity::Control::Service* service) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) Die("no port to be steered by");
  address_ = absl::StrCat("127.0.0.1:", port);
}

void AnnounceAndStay(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    std::printf("%s\n", address.c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
  while (true) pause();
}

LogSink NoLog() {
  return [](LogSeverity, absl::string_view) {};
}

void TellMetrics(const Mesh& mesh, identity::Stats* stats) {
  const std::string text = mesh.PrometheusText();
  for (const Sample& sample : SamplesOf(text, kGeneration)) {
    const auto it = sample.labels.find("identity");
    if (it == sample.labels.end() || it->second != kProcess) continue;
    stats->set_generation(static_cast<uint64_t>(sample.value));
  }
  for (const Sample& sample : SamplesOf(text, kGenerationsOpen)) {
    stats->set_generations_open(std::max(stats->generations_open(),
                                         static_cast<int32_t>(sample.value)));
  }
  stats->set_config_reloads(
      static_cast<int64_t>(mesh.Metrics().config_reloads));
}

void TellMemory(identity::Stats* stats) {
  stats->set_rss_bytes(Resident());
  stats->set_descriptors(Descriptors());
}

}  // namespace mesh::benchmarks
