#ifndef TESTS_MATRIX_ENVIRONMENT_H_
#define TESTS_MATRIX_ENVIRONMENT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/support/client_interceptor.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "mesh/mesh.h"
#include "tests/support/test_server.h"

namespace mesh::test {

using InterceptorFactories = std::vector<
    std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>;

// A kind of channel. Each is made as a bare grpc::Channel and as a channel of
// a mesh, with the same settings.
enum class Flavour {
  kPlain,
  kSmallMessages,  // At most kSmallMessage bytes either way.
  kLocal,          // A socket file and credentials that allow call credentials.
  kDead,           // Nobody listens.
  kGzip,           // Compresses by default.
};
inline constexpr int kSmallMessage = 20000;

// Attempts that the mesh's policy allows a call.
inline constexpr int kMaxAttempts = 3;

// When a call is hedged, where it is.
inline constexpr int kHedgeDelayMs = 2;

// The names of hook points that an interceptor met, by call. Thread-safe.
class HookLog {
 public:
  void Add(const std::string& hook) {
    base::MutexLock lock(&mu_);
    hooks_.push_back(hook);
  }
  std::vector<std::string> Take() {
    base::MutexLock lock(&mu_);
    return std::exchange(hooks_, {});
  }

 private:
  base::Mutex mu_;
  std::vector<std::string> hooks_ ABSL_GUARDED_BY(mu_);
};

// Servers and channels that all tests of a process share.
class Arms : public testing::Environment {
 public:
  static Arms& Get();

  void SetUp() override;
  void TearDown() override;

  // Listens on three ports and a socket file: one server, so that it counts
  // the executions of a call on whichever endpoint.
  TestServer* server() { return server_.get(); }

  std::shared_ptr<grpc::ChannelInterface> Bare(Flavour flavour) {
    return bare_.at(flavour);
  }
  std::shared_ptr<grpc::ChannelInterface> Mesh(Flavour flavour) {
    return mesh_.at(flavour);
  }
  // As Mesh(), but a call that is not answered within kHedgeDelayMs is hedged.
  std::shared_ptr<grpc::ChannelInterface> Hedged(Flavour flavour) {
    return hedged_.at(flavour);
  }
  // New channels of the plain flavour.
  std::shared_ptr<grpc::ChannelInterface> NewBare(InterceptorFactories);
  std::shared_ptr<grpc::ChannelInterface> NewMesh(InterceptorFactories);
  std::shared_ptr<grpc::ChannelInterface> NewHedged(InterceptorFactories);

  // A path for a socket file that does not exist yet.
  std::string NewSocketPath();

 private:
  std::string directory_;
  int sockets_ = 0;
  std::unique_ptr<TestServer> server_;
  std::map<Flavour, std::shared_ptr<grpc::ChannelInterface>> bare_;
  std::map<Flavour, std::shared_ptr<grpc::ChannelInterface>> mesh_;
  std::map<Flavour, std::shared_ptr<grpc::ChannelInterface>> hedged_;
  std::unique_ptr<mesh::Mesh> mesh_owner_;
  std::unique_ptr<mesh::Mesh> hedged_owner_;
};

}  // namespace mesh::test

#endif  // TESTS_MATRIX_ENVIRONMENT_H_
