#ifndef MESH_BENCHMARKS_IDENTITY_SOCKETS_H_
#define MESH_BENCHMARKS_IDENTITY_SOCKETS_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Which connections there are, and who was seen at their ends. No I/O.

namespace mesh::benchmarks {

// The ports of a TCP connection on loopback: the client's, the server's.
using Pair = std::pair<int, int>;

// The connections to `servers` (ports) of which an end is ESTABLISHED, from the
// text of /proc/net/tcp or tcp6.
std::set<Pair> OpenPairs(absl::string_view proc_net_tcp,
                         const std::set<int>& servers);

// Joins looks at the kernel's table with what the ends say that they have seen
// in handshakes. Times are monotonic. Not thread-safe.
class ConnectionLog {
 public:
  // What is open now. To be told often: a port that is gone for a whole look is
  // of another connection when it is back.
  void Look(const std::set<Pair>& open, absl::Time now);
  // What one end has seen: the other end's serial. Empty: no TLS.
  void SeenByServer(const Pair& pair, std::string serial, absl::Time at);
  void SeenByClient(const Pair& pair, std::string serial, absl::Time at);

  struct Count {
    int known = 0;
    int unknown = 0;
    std::vector<std::string> which;  // One line each, for people.
    int all() const { return known + unknown; }
  };
  // Connections that are open and bad: `is_bad` says so of a serial that an end
  // has seen. One whose ends nobody has seen is `unknown`, and counts when it
  // is older than `good_since`.
  Count Bad(const std::function<bool(const std::string& serial)>& is_bad,
            absl::Time good_since) const;

  size_t open() const { return open_.size(); }

 private:
  struct Seen {
    std::string serial;
    absl::Time at = absl::InfinitePast();
  };
  struct Connection {
    absl::Time since;
    // What the client showed, as the server saw it, and the other way round.
    Seen client;
    Seen server;
  };

  static std::string ShownBy(const Seen& end);

  // A connection may be seen by its end before a look finds it.
  static constexpr absl::Duration kLookEvery = absl::Milliseconds(200);

  std::map<Pair, Connection> open_;
  // Those that no look has found yet. They are forgotten after a while.
  std::map<Pair, Connection> early_;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_SOCKETS_H_
