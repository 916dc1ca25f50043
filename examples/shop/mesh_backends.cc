#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "examples/shop/backends.h"
#include "examples/shop/calls.h"
#include "mesh/mesh.h"

namespace shop {
namespace {

class FromMesh final : public Backends {
 public:
  explicit FromMesh(std::unique_ptr<mesh::Mesh> mesh)
      : mesh_(std::move(mesh)), stubs_(std::make_shared<Stubs>()) {
    stubs_->cart = v1::Cart::NewStub(mesh_->Channel("cart"));
    stubs_->catalog = v1::Catalog::NewStub(mesh_->Channel("catalog"));
    stubs_->payment = v1::Payment::NewStub(mesh_->Channel("payment"));
  }

  std::shared_ptr<const Stubs> stubs() const override { return stubs_; }

  void Report(Panel& panel) override {
    uint64_t retries = 0, transparent = 0, denied = 0;
    const mesh::telemetry::Snapshot metrics = mesh_->Metrics();
    for (const auto& service : metrics.services) {
      denied += service.retries_denied_by_budget;
      for (const auto& method : service.methods) {
        retries += method.retries;
        transparent += method.transparent_retries;
      }
    }
    for (size_t i = 0; i < std::size(kServices); ++i) {
      for (const auto& service : metrics.services) {
        if (service.service == kServices[i]) Note(service, panel.health[i]);
      }
    }
    for (const auto& identity : metrics.identities) {
      if (identity.serial == serial_) continue;
      if (!serial_.empty()) ++panel.renewals;
      serial_ = identity.serial;
    }
    panel.retries = retries;
    panel.transparent_retries = transparent;
    panel.denied_retries = denied;
  }

 private:
  static void Note(const mesh::telemetry::ServiceSnapshot& service,
                   Panel::Health& health) {
    uint64_t suspected = 0, ejected = 0, out = 0;
    for (const auto& change : service.health_changes) {
      if (change.to == "suspect") suspected += change.enforced;
      // A server that shuts a connection down says so; it does not fail.
      if (change.to == "ejected" && change.cause != "draining") {
        ejected += change.enforced;
      }
    }
    for (const auto& endpoint : service.endpoints) {
      out += endpoint.health == "suspect" || endpoint.health == "ejected";
    }
    health.suspected = suspected;
    health.ejected = ejected;
    health.out = out;
  }

  const std::unique_ptr<mesh::Mesh> mesh_;
  const std::shared_ptr<Stubs> stubs_;
  std::string serial_;  // The certificate that was last in force.
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backends>> MeshBackends(
    const std::string& directory) {
  absl::StatusOr<std::unique_ptr<mesh::Mesh>> mesh =
      mesh::Mesh::FromFile(absl::StrCat(directory, "/mesh.yaml"));
  if (!mesh.ok()) return mesh.status();
  return std::make_unique<FromMesh>(*std::move(mesh));
}

}  // namespace shop
