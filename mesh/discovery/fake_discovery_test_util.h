#ifndef MESH_DISCOVERY_FAKE_DISCOVERY_TEST_UTIL_H_
#define MESH_DISCOVERY_FAKE_DISCOVERY_TEST_UTIL_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/discovery/feed.h"
#include "mesh/discovery/resolver.h"
#include "mesh/options/endpoints.h"

namespace mesh::discovery {

// Reports what a test says, when it says it. One resolver at a time.
class FakeDiscovery {
 public:
  // For Feed::Seams and service::Runtime::Control. This outlives what is made.
  Feed::MakeResolver Maker() {
    return [this](const options::EndpointSource&) {
      ++made_;
      return std::make_unique<FakeResolver>(this);
    };
  }

  // Reports from the resolver that lives. Nothing where there is none.
  void Report(const std::vector<std::string>& addresses) {
    auto set = std::make_shared<cluster::EndpointSet>();
    for (const std::string& address : addresses) {
      cluster::Endpoint endpoint;
      endpoint.address = address;
      set->endpoints.push_back(std::move(endpoint));
    }
    ReportSet(std::move(set));
  }
  void ReportSet(cluster::EndpointSetPtr set) { Tell(std::move(set)); }
  void ReportError(absl::Status error) { Tell(std::move(error)); }

  int made() const { return made_; }
  bool running() const { return listener_ != nullptr; }
  int refreshes() const { return refreshes_; }
  int asked_again() const { return asked_again_; }

 private:
  class FakeResolver final : public Resolver {
   public:
    explicit FakeResolver(FakeDiscovery* fake) : fake_(fake) {}
    ~FakeResolver() override { fake_->listener_ = nullptr; }
    void Start(Listener listener) override {
      fake_->listener_ = std::move(listener);
    }
    void Refresh() override { ++fake_->refreshes_; }
    void AskAgain() override { ++fake_->asked_again_; }

   private:
    FakeDiscovery* const fake_;
  };

  void Tell(absl::StatusOr<cluster::EndpointSetPtr> update) {
    const Resolver::Listener listener = listener_;
    if (listener) listener(std::move(update));
  }

  int made_ = 0;
  int refreshes_ = 0;
  int asked_again_ = 0;
  Resolver::Listener listener_;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_FAKE_DISCOVERY_TEST_UTIL_H_
