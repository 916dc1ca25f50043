#ifndef MESH_BENCHMARKS_IDENTITY_STEERED_H_
#define MESH_BENCHMARKS_IDENTITY_STEERED_H_

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "benchmarks/identity/control.grpc.pb.h"
#include "benchmarks/identity/sockets.h"
#include "mesh/base/mutex.h"
#include "tests/process/process.h"

// The bench's own side of its processes.

namespace mesh::benchmarks {

// The path of a program of this directory of the build.
std::string IdentityProgram(const std::string& name);

// A process that has a control. Start() and its like are for one thread; it may
// be asked on any.
class Steered {
 public:
  // Begins `argv`. Ends the bench when it does not come up.
  explicit Steered(std::vector<std::string> argv);

  // What it serves at. Empty: a client.
  std::string address() const;

  // Whether it runs. If not, it was not this bench that has ended it.
  bool Runs();
  // kill -9, if it runs, and the same again.
  void Restart();

  // Nothing: it does not answer.
  std::optional<identity::Stats> Ask(bool memory = false);
  // When a server has seen `serial` in a new connection of this client.
  // InfiniteFuture: not in time.
  absl::Time AwaitSerial(const std::string& serial, absl::Duration timeout);
  // False: it does not answer.
  bool Push(int socket, const std::string& answer);

 private:
  void Start();
  std::shared_ptr<identity::Control::Stub> control() const;

  std::vector<std::string> argv_;
  std::unique_ptr<test::Process> process_;

  mutable base::Mutex mu_;
  std::string address_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<identity::Control::Stub> control_ ABSL_GUARDED_BY(mu_);
};

// What the kernel's tables have of connections to `servers`.
std::set<Pair> LookAtSockets(const std::set<int>& servers);

// Adds to `log` what the ends have seen.
void AddSightings(const identity::Stats& stats, ConnectionLog* log);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_STEERED_H_
