#ifndef MESH_BENCHMARKS_OUTAGES_WORLD_H_
#define MESH_BENCHMARKS_OUTAGES_WORLD_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "benchmarks/outages/figures.h"
#include "tests/process/process.h"

// The processes that benches of outages and of identities call. Each gets
// SIGKILL when the thread that started it ends, so none outlives the bench.
// What cannot be started ends the bench.

namespace mesh::benchmarks {

[[noreturn]] void Die(absl::string_view what);

// A line on stderr that replaces the one before it, on a terminal.
void Progress(const std::string& line);

// Monotonic.
absl::Time Now();

// What stands in a file. Empty when it cannot be read.
std::string Contents(const std::string& path);

// What this process has: the resident set in bytes, without what malloc only
// keeps, and the descriptors that are open, but for the one that looks.
int64_t Resident();
int64_t Descriptors();

// The port of "127.0.0.1:4711".
int PortOf(const std::string& address);

// Runs `argv` as a child.
std::unique_ptr<test::Process> StartChild(std::vector<std::string> argv);
// The addresses that it prints before an empty line. Empty when it ends before.
std::vector<std::string> ReadAddresses(test::Process* process);

// The path of a program of this directory of the build.
std::string ProgramPath(const std::string& name);

// A test server process.
class Server {
 public:
  struct Options {
    std::string name;  // As Outcome::by has it.
    std::vector<std::string> addresses = {"127.0.0.1:0"};
    std::vector<std::string> flags;  // More of test_server_main's.
    bool raw_service = false;
    bool must_start = true;  // Or address() is empty where it can't listen.
  };
  explicit Server(Options options);
  explicit Server(const std::string& name) : Server(OptionsOf(name)) {}

  const std::string& name() const { return options_.name; }
  const std::vector<std::string>& addresses() const {
    return options_.addresses;
  }
  const std::string& address() const { return options_.addresses.front(); }

  void Signal(int signal) { process_->Signal(signal); }
  // kill -9. Returns when it is gone.
  void Kill();
  // On the same ports. Returns when it listens.
  void Start();

 private:
  static Options OptionsOf(const std::string& name) {
    Options options;
    options.name = name;
    return options;
  }

  Options options_;
  std::unique_ptr<test::Process> process_;
};

using Servers = std::vector<std::unique_ptr<Server>>;
// `count` servers whose names begin with `letter`: "p0", "p1".
Servers StartServers(const std::string& letter, int count,
                     const std::vector<std::string>& flags = {});
std::vector<std::string> AddressesOf(const Servers& servers);

// An outages_peer: a relay, or a port that accepts and closes.
class Peer {
 public:
  // In front of `backend`.
  static std::unique_ptr<Peer> Relay(const std::string& backend);
  static std::unique_ptr<Peer> Refuser();

  const std::string& address() const { return address_; }
  // From now on it drops what comes on the connections that it has.
  void Silence();
  // The connections until now.
  Accepted accepted() const;

 private:
  Peer() = default;
  void Start(const std::string& mode, const std::vector<std::string>& more);

  const test::TempDirectory directory_;
  std::string address_;
  std::unique_ptr<test::Process> process_;
};

// Ports that drop each SYN.
class Hole {
 public:
  explicit Hole(int count);
  const std::vector<std::string>& addresses() const { return addresses_; }

 private:
  std::unique_ptr<test::Process> process_;
  std::vector<std::string> addresses_;
};

// States of connections as the kernel numbers them.
inline constexpr int kEstablished = 1;
inline constexpr int kSynSent = 2;

// The local ports of this machine's connections in `state` to the ports of
// `addresses`.
std::set<int> ConnectionsTo(const std::vector<std::string>& addresses,
                            int state);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_WORLD_H_
