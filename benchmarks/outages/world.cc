#include "benchmarks/outages/world.h"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "mesh/base/clock.h"

namespace mesh::benchmarks {

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int64_t Resident() {
  malloc_trim(0);
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    long long kilobytes = 0;
    if (std::sscanf(line.c_str(), "Rss: %lld kB", &kilobytes) == 1) {
      return kilobytes * 1024;
    }
  }
  Die("no resident set");
}

int64_t Descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all)) - 1;
}

void Die(absl::string_view what) {
  std::fprintf(stderr, "%s: %.*s\n", program_invocation_short_name,
               static_cast<int>(what.size()), what.data());
  std::fflush(stdout);
  // Not std::exit(): other threads may be in the middle of a row.
  std::_Exit(1);
}

void Progress(const std::string& line) {
  static const bool terminal = isatty(STDERR_FILENO);
  if (terminal) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  } else if (!line.empty()) {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

absl::Time Now() { return base::Clock::Real().Now(); }

int PortOf(const std::string& address) {
  int port = 0;
  if (!absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) {
    Die("no port in \"" + address + "\"");
  }
  return port;
}

std::unique_ptr<test::Process> StartChild(std::vector<std::string> argv) {
  absl::StatusOr<std::unique_ptr<test::Process>> process =
      test::Process::Start(std::move(argv), SIGKILL);
  if (!process.ok()) Die(process.status().message());
  return *std::move(process);
}

std::vector<std::string> ReadAddresses(test::Process* process) {
  std::vector<std::string> addresses;
  while (true) {
    const absl::StatusOr<std::string> line =
        process->ReadLine(absl::Seconds(30));
    if (!line.ok()) return {};
    if (line->empty()) return addresses;
    addresses.push_back(*line);
  }
}

std::string ProgramPath(const std::string& name) {
  return absl::StrCat(test::ProgramDirectory(), "/outages/", name);
}

// ---------------------------------------------------------------------------
// Server

Server::Server(Options options) : options_(std::move(options)) { Start(); }

void Server::Kill() {
  process_->Signal(SIGKILL);
  (void)process_->Wait();
}

void Server::Start() {
  std::vector<std::string> argv = {
      test::ProgramDirectory() + "/../tests/support/test_server_main",
      "--address=" + absl::StrJoin(options_.addresses, ","),
      "--name=" + options_.name};
  if (!options_.raw_service) argv.push_back("--no_raw_service");
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  // For a moment the port may be that of a client's connection.
  const int tries = options_.must_start ? 20 : 1;
  for (int i = 0; i < tries; ++i) {
    process_ = StartChild(argv);
    const std::vector<std::string> addresses = ReadAddresses(process_.get());
    if (!addresses.empty()) {
      options_.addresses = addresses;
      return;
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  if (options_.must_start) Die("no server on " + options_.addresses.front());
  options_.addresses = {""};
}

Servers StartServers(const std::string& letter, int count,
                     const std::vector<std::string>& flags) {
  Servers servers;
  for (int i = 0; i < count; ++i) {
    Server::Options options;
    options.name = absl::StrCat(letter, i);
    options.flags = flags;
    servers.push_back(std::make_unique<Server>(std::move(options)));
  }
  return servers;
}

std::vector<std::string> AddressesOf(const Servers& servers) {
  std::vector<std::string> addresses;
  for (const auto& server : servers) addresses.push_back(server->address());
  return addresses;
}

// ---------------------------------------------------------------------------
// Peers

void Peer::Start(const std::string& mode,
                 const std::vector<std::string>& more) {
  std::vector<std::string> argv = {ProgramPath("outages_peer"), mode,
                                   directory_.Write("log", "")};
  argv.insert(argv.end(), more.begin(), more.end());
  process_ = StartChild(std::move(argv));
  const std::vector<std::string> addresses = ReadAddresses(process_.get());
  if (addresses.size() != 1) Die("no " + mode);
  address_ = addresses.front();
}

std::unique_ptr<Peer> Peer::Relay(const std::string& backend) {
  auto peer = std::unique_ptr<Peer>(new Peer());
  peer->Start("relay", {absl::StrCat(PortOf(backend))});
  return peer;
}

std::unique_ptr<Peer> Peer::Refuser() {
  auto peer = std::unique_ptr<Peer>(new Peer());
  peer->Start("refuse", {});
  return peer;
}

void Peer::Silence() { process_->Signal(SIGUSR1); }

Accepted Peer::accepted() const {
  return ParseAccepted(Contents(directory_.path() + "/log"));
}

Hole::Hole(int count)
    : process_(StartChild(
          {ProgramPath("outages_peer"), "hole", absl::StrCat(count)})),
      addresses_(ReadAddresses(process_.get())) {
  if (static_cast<int>(addresses_.size()) != count) Die("no hole");
}

std::set<int> ConnectionsTo(const std::vector<std::string>& addresses,
                            int state) {
  std::set<int> ports;
  for (const std::string& address : addresses) ports.insert(PortOf(address));
  std::set<int> found;
  for (const char* const file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    found.merge(PortsTo(Contents(file), ports, state));
  }
  return found;
}

}  // namespace mesh::benchmarks
