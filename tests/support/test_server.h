#ifndef TESTS_SUPPORT_TEST_SERVER_H_
#define TESTS_SUPPORT_TEST_SERVER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "mesh/base/mutex.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {

// Metadata that carries a serialized Directives; see test_service.proto.
inline constexpr char kDirectivesKey[] = "mesh-test-directives-bin";

// How often each key was executed. Thread-safe. Several servers may share one.
class Executions {
 public:
  // With a `journal`, each execution appends its key as a line to that file
  // before it goes on. So it shows what was executed, even after a kill -9.
  explicit Executions(const std::string& journal = "");
  ~Executions();

  // Notes an execution of `key`. Returns which one it is, from 1.
  int64_t Add(const std::string& key);
  // Executions of one key; of all keys when `key` is empty.
  CountReply Count(const std::string& key) const;

 private:
  int journal_ = -1;
  mutable base::Mutex mu_;
  std::map<std::string, int64_t> by_key_ ABSL_GUARDED_BY(mu_);
  int64_t all_ ABSL_GUARDED_BY(mu_) = 0;
};

// A fault of a whole server, whatever its callers ask for. Thread-safe.
struct ServerFault {
  std::atomic<bool> on{false};
  int code = 0;      // What unary calls fail with, at once.
  double share = 1;  // The part of them that fails, 0 to 1.
};

// A gRPC server of mesh.test.TestService. A raw service answers any other
// method name. It sends each message's bytes back and takes its directives from
// metadata, except sleeps and the limits of streams. It is for messages that
// are not protobuf.
class TestServer {
 public:
  struct Options {
    // Where to listen, one port each; the system chooses for port 0. Calls look
    // the same on all of them.
    std::vector<std::string> addresses = {"127.0.0.1:0"};
    std::string name;
    // Null: plaintext.
    std::shared_ptr<grpc::ServerCredentials> credentials;
    // GRPC_ARG_MAX_CONNECTION_AGE_MS and the like.
    std::map<std::string, int> int_args;
    // Null: a new one.
    std::shared_ptr<Executions> executions;
    // Null: none.
    std::shared_ptr<const ServerFault> fault;
    // Whether methods of other names are answered. Benchmarks that measure time
    // do without that. With a service of its callback API, gRPC 1.51 lets a
    // server rest for 100 ms in each second while others of its queues have
    // work to do.
    bool raw_service = true;
    // Has the last word on how the server is built.
    std::function<void(grpc::ServerBuilder*)> customize;
  };

  // UNAVAILABLE when it can't listen.
  static absl::StatusOr<std::unique_ptr<TestServer>> Start(Options options);
  static absl::StatusOr<std::unique_ptr<TestServer>> Start() {
    return Start(Options());
  }

  // Shuts down at once.
  ~TestServer();

  // "127.0.0.1:4711", in the order of Options::addresses.
  const std::vector<std::string>& addresses() const { return addresses_; }
  const std::string& address() const { return addresses_.front(); }
  Executions& executions() { return *executions_; }

  // Refuses new calls, and cancels those that are not done by then. Returns
  // when all are.
  void Shutdown(absl::Duration grace);

 private:
  class Service;
  class RawService;

  TestServer() = default;

  std::shared_ptr<Executions> executions_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<RawService> raw_service_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> addresses_;
};

}  // namespace mesh::test

#endif  // TESTS_SUPPORT_TEST_SERVER_H_
