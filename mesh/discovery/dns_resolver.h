#ifndef MESH_DISCOVERY_DNS_RESOLVER_H_
#define MESH_DISCOVERY_DNS_RESOLVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/base/event_loop.h"
#include "mesh/discovery/dns_lookup.h"
#include "mesh/discovery/resolver.h"
#include "mesh/options/endpoints.h"

namespace mesh::discovery {

// Resolves a name (see DnsLookup) again and again, each time the TTL of what
// was found has passed. The time is bounded by `min_refresh` and `max_refresh`.
// After a failure, or an answer without addresses, it tries again in 1 s. It
// then waits twice as long each time, up to 30 s, 20% more or less. It never
// tries sooner than `min_refresh`.
//
// A name that exists but has no addresses is an empty set. A name that does not
// exist is a failure (NOT_FOUND), and the last set stays. The reason: a wrong
// name, a lost search list and a name server that lost its zone look the same.
// When only one of A and AAAA can be had, what was last known of the other
// stays.
class DnsResolver final : public Resolver {
 public:
  DnsResolver(options::DnsOptions options, base::EventLoop* loop);
  ~DnsResolver() override;

  void Start(Listener listener) override;
  // Resolves as soon as `min_refresh` allows. Does nothing while it resolves
  // already, or waits after a failure.
  void Refresh() override;
  void AskAgain() override;

 private:
  void Resolve();
  void OnAnswer(DnsAnswer answer);
  void ResolveAt(absl::Time at);
  absl::Duration Backoff();
  std::vector<cluster::Endpoint> Endpoints() const;
  // The last thing that a caller does: `this` may be gone afterwards.
  void Report(absl::StatusOr<cluster::EndpointSetPtr> update);

  // Constant.
  const std::string name_;
  const uint16_t port_;
  const std::vector<std::string> servers_;
  const absl::Duration min_refresh_;
  const absl::Duration max_refresh_;
  base::EventLoop* const loop_;

  // On the loop's thread.
  std::shared_ptr<const Listener> listener_;
  std::unique_ptr<DnsLookup> lookup_;  // Null: none under way.
  base::EventLoop::TimerId timer_ = 0;
  absl::Time begun_at_;  // The last lookup.
  absl::Time next_at_;   // When the next is due.
  int misses_ = 0;       // Lookups in a row that found no address.
  std::string found_;    // The full name of the addresses below.
  std::vector<std::string> a_;
  std::vector<std::string> aaaa_;
  // What was reported last: an error, or `set_`. `set_` is null before the
  // first report of a set.
  absl::Status error_;
  cluster::EndpointSetPtr set_;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_DNS_RESOLVER_H_
