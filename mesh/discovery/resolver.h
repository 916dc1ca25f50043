#ifndef MESH_DISCOVERY_RESOLVER_H_
#define MESH_DISCOVERY_RESOLVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/base/event_loop.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/options/endpoints.h"

namespace mesh::discovery {

// Finds the endpoints of one service and goes on watching them. It lives on one
// event loop: it is made, started, used and destroyed on that thread, and calls
// back there. It does no blocking I/O there, except that it reads small local
// files.
class Resolver {
 public:
  // It is told of every change and every failure. It is told of an empty set
  // each time that a server says so anew, and of the set once more when that is
  // had again after a failure. A failure does not take back the last set: the
  // listener keeps it. It is not called after the resolver is destroyed. The
  // resolver may be destroyed inside it.
  using Listener = std::function<void(absl::StatusOr<cluster::EndpointSetPtr>)>;

  virtual ~Resolver() = default;

  // Begins. Call it once. It may call back before it returns.
  virtual void Start(Listener listener) = 0;

  // A hint that the endpoints may have changed (connections break). The
  // resolver decides whether and when to look again.
  virtual void Refresh() = 0;

  // There are no endpoints, and somebody wants one. Looks again once a second
  // has passed since the last time, whatever was planned. Where a look asks
  // nobody, there is nothing to do.
  virtual void AskAgain() {}
};

// Reads the text of an endpoints file; `name` stands for its path in errors.
// Discovery does not know the schema: whoever makes a resolver brings this
// along.
using ParseEndpoints = std::function<absl::StatusOr<cluster::EndpointSetPtr>(
    absl::string_view text, const std::string& name)>;

// The resolver for `source`. `loop` must outlive it. `parse` is for files.
// A failure has the code of its cause. INVALID_ARGUMENT: what was read is
// wrong. NOT_FOUND: the file or the name does not exist. UNAVAILABLE or another
// code: nothing is known.
//
// A file is looked at every second, also behind symbolic links that
// are exchanged (as Kubernetes does). A name is resolved as dns_resolver.h
// says.
std::unique_ptr<Resolver> MakeResolver(const options::EndpointSource& source,
                                       base::EventLoop* loop,
                                       const ParseEndpoints& parse);

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_RESOLVER_H_
