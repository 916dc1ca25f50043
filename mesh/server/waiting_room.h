#ifndef MESH_SERVER_WAITING_ROOM_H_
#define MESH_SERVER_WAITING_ROOM_H_

#include <cstddef>
#include <iterator>
#include <list>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace mesh::server {

// The peers that have connected and sent nothing yet. Decides which of them go.
// Thread-compatible.
class WaitingRoom {
 public:
  // How long a peer may be silent.
  static constexpr absl::Duration kPatience = absl::Seconds(5);

  explicit WaitingRoom(size_t most) : most_(most) {}

  // A peer has come. Returns the one that has to go for it: that which has been
  // silent for longest. -1: nobody has to.
  int Enter(int fd, absl::Time now) {
    const int out = peers_.size() >= most_ ? Oldest() : -1;
    if (out >= 0) Leave(out);
    peers_.emplace_back(fd, now);
    by_fd_[fd] = std::prev(peers_.end());
    return out;
  }
  // False: it is not there.
  bool Leave(int fd) {
    const auto it = by_fd_.find(fd);
    if (it == by_fd_.end()) return false;
    peers_.erase(it->second);
    by_fd_.erase(it);
    return true;
  }
  // The one that has been silent for longest. -1: nobody is there.
  int Oldest() const { return peers_.empty() ? -1 : peers_.front().first; }
  // Since when that one is there. Infinite: nobody is there.
  absl::Time oldest_since() const {
    return peers_.empty() ? absl::InfiniteFuture() : peers_.front().second;
  }
  // Those whose time is over. They have left.
  std::vector<int> Expire(absl::Time now) {
    std::vector<int> out;
    while (!peers_.empty() && now - peers_.front().second >= kPatience) {
      out.push_back(peers_.front().first);
      Leave(out.back());
    }
    return out;
  }
  // When Expire() has somebody.
  absl::Time next() const {
    return peers_.empty() ? absl::InfiniteFuture()
                          : peers_.front().second + kPatience;
  }
  size_t size() const { return peers_.size(); }

 private:
  using Peers = std::list<std::pair<int, absl::Time>>;

  const size_t most_;
  Peers peers_;  // In the order in which they came.
  absl::flat_hash_map<int, Peers::iterator> by_fd_;
};

}  // namespace mesh::server

#endif  // MESH_SERVER_WAITING_ROOM_H_
