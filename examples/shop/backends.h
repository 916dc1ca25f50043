#ifndef EXAMPLES_SHOP_BACKENDS_H_
#define EXAMPLES_SHOP_BACKENDS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "examples/shop/panel.h"
#include "examples/shop/v1/cart.grpc.pb.h"
#include "examples/shop/v1/catalog.grpc.pb.h"
#include "examples/shop/v1/payment.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace shop {

// The generated stubs, the same in both arms of the demo.
struct Stubs {
  std::unique_ptr<v1::Cart::Stub> cart;
  std::unique_ptr<v1::Catalog::Stub> catalog;
  std::unique_ptr<v1::Payment::Stub> payment;
};

// The services behind the frontend: all in which the arms differ.
class Backends {
 public:
  virtual ~Backends() = default;

  // What to call now. Thread-safe; never null. Ask for every call, and keep
  // what is returned as long as the call lasts.
  virtual std::shared_ptr<const Stubs> stubs() const = 0;

  // Notes in `panel` what the clients counted about retries and certificates,
  // and what they think of the servers. One thread.
  virtual void Report(Panel& panel) = 0;
};

// With mesh. `directory` has mesh.yaml, which names the endpoints files and
// those of the frontend's identity.
absl::StatusOr<std::unique_ptr<Backends>> MeshBackends(
    const std::string& directory);

// As a good gRPC user does without mesh: round_robin and retries by service
// config. `directory` has service_config.json, the same endpoints files
// (cart.yaml, catalog.yaml and payment.yaml) and the same identity, which is
// read once. gRPC has no resolver that brings new ports, so the endpoints files
// are watched and the channels replaced when they change.
absl::StatusOr<std::unique_ptr<Backends>> BareBackends(
    const std::string& directory);

}  // namespace shop

#endif  // EXAMPLES_SHOP_BACKENDS_H_
