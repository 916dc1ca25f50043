#ifndef MESH_TESTS_SCENARIO_SCENARIO_H_
#define MESH_TESTS_SCENARIO_SCENARIO_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/process/process.h"
#include "tests/support/test_service.grpc.pb.h"

// What scenarios across processes are made of. Whatever goes wrong in here
// fails the test that runs.

namespace mesh::test {

// A mesh.test.TestService as a process of its own.
class ServerProcess {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";
    std::string journal;             // Empty: executions are not written down.
    std::vector<std::string> flags;  // More of test_server_main's.
  };
  ServerProcess() : ServerProcess(Options()) {}
  explicit ServerProcess(Options options);

  // The same over restarts.
  const std::string& address() const { return options_.address; }

  // kill -9. Returns when it is gone.
  void Kill();
  // SIGTERM: it shuts down as a server should. Returns when it is gone.
  void Terminate();
  // On the same address. Returns when it listens.
  void Start();
  void Signal(int signal) { process_->Signal(signal); }

 private:
  Options options_;
  std::unique_ptr<Process> process_;
};

// How often each key was executed, from servers' journals.
std::map<std::string, int> ReadJournals(
    const std::vector<std::string>& journals);

// Runs calls at a steady rate until it is stopped, on several threads so that
// a slow call does not hold up the others.
class Load {
 public:
  // Makes the call of this number.
  using Call = std::function<grpc::Status(int64_t number)>;

  // `calls_per_second` 0: one after another, as fast as they end.
  Load(double calls_per_second, int threads, Call call);
  ~Load() { Stop(); }

  // Returns when the last call has ended. May be called again.
  void Stop();

  int64_t calls() const { return calls_; }
  int64_t failed() const { return failed_; }
  // How the calls that failed did, and how often: for messages of tests.
  std::string Failures() const;

 private:
  void Run();

  // Constant.
  const absl::Duration interval_;
  const Call call_;
  const absl::Time start_;

  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> failed_{0};
  std::vector<std::thread> threads_;

  mutable base::Mutex mu_;
  std::map<std::string, int64_t> failures_ ABSL_GUARDED_BY(mu_);
};

// Text of an endpoints file.
std::string EndpointsFile(const std::vector<std::string>& addresses);

// A mesh of `config`, which must be valid.
std::unique_ptr<Mesh> MakeMesh(const v1::Config& config, Options options = {});
// A configuration with one service, "test".
v1::Config OneService(const std::vector<std::string>& addresses);
v1::Service& TheService(v1::Config* config);

// A stub to `service` ("test" if nothing is said).
std::unique_ptr<TestService::Stub> StubOf(Mesh& mesh,
                                          absl::string_view service = "test");

// Makes a unary call with a deadline of 10 s. `reply` may be null. The details
// of a failure are what mesh says of its attempts.
grpc::Status CallUnary(TestService::Stub& stub, const Request& request,
                       Reply* reply = nullptr);
grpc::Status CallOnce(TestService::Stub& stub, const Request& request);

// Waits, for at most 20 s, until `condition` holds. Whether it does.
bool WaitUntil(const std::function<bool()>& condition);

// The metrics of the service "test".
telemetry::ServiceSnapshot ServiceMetrics(const Mesh& mesh);
// Policy and transparent retries of the service "test", of all methods.
uint64_t Retries(const Mesh& mesh);

}  // namespace mesh::test

namespace grpc {
// Lets a failed expectation say more than that the status was not OK.
void PrintTo(const Status& status, std::ostream* out);
}  // namespace grpc

#endif  // MESH_TESTS_SCENARIO_SCENARIO_H_
