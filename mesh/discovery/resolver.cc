#include "mesh/discovery/resolver.h"

#include <memory>
#include <utility>
#include <variant>

#include "mesh/discovery/dns_resolver.h"
#include "mesh/discovery/file_resolver.h"

namespace mesh::discovery {
namespace {

// What the configuration lists.
class StaticResolver final : public Resolver {
 public:
  explicit StaticResolver(cluster::EndpointSetPtr set)
      : set_(set != nullptr ? std::move(set)
                            : std::make_shared<cluster::EndpointSet>()) {}

  void Start(Listener listener) override { listener(set_); }
  void Refresh() override {}

 private:
  const cluster::EndpointSetPtr set_;
};

}  // namespace

std::unique_ptr<Resolver> MakeResolver(const options::EndpointSource& source,
                                       base::EventLoop* loop,
                                       const ParseEndpoints& parse) {
  if (const auto* file = std::get_if<options::EndpointsFileOptions>(&source)) {
    return std::make_unique<FileResolver>(*file, parse, loop);
  }
  if (const auto* dns = std::get_if<options::DnsOptions>(&source)) {
    return std::make_unique<DnsResolver>(*dns, loop);
  }
  return std::make_unique<StaticResolver>(
      std::get<cluster::EndpointSetPtr>(source));
}

}  // namespace mesh::discovery
