#ifndef MESH_FRONT_SHOWN_LEAVES_H_
#define MESH_FRONT_SHOWN_LEAVES_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/time/time.h"
#include "mesh/security/identity.h"
#include "mesh/security/trust.h"

namespace mesh::front {

// The certificates that a server has shown, one after the other, and which of
// them its own trust no longer vouches for. A connection on which such a one
// was shown was made under an authority that is withdrawn. A peer that looks
// after itself ends it. Others do not, so the server has to.
//
// Of certificates in a row with one issuer the last is kept, without its key.
// Pure: time comes in. Not thread-safe.
class ShownLeaves {
 public:
  // So many issuers are remembered.
  static constexpr size_t kMost = 64;

  // The number of what handshakes show from now on. It grows with each other
  // chain. Null: they show nothing.
  uint64_t Show(const security::Identity* identity, absl::Time wall);

  // The greatest number whose certificate was trusted when it was shown and is
  // not trusted by `trust`. Those before count as if they were like it. 0:
  // there is none. They are forgotten.
  uint64_t TakeWithdrawn(const security::Trust& trust);

 private:
  struct Leaf {
    uint64_t number = 0;
    std::string issuer;
    std::string chain;
    absl::Time shown_at;  // By the wall clock: the chain was valid then.
    bool trusted = false;
  };

  uint64_t last_ = 0;
  std::string chain_;  // What is shown now.
  std::deque<Leaf> leaves_;
};

}  // namespace mesh::front

#endif  // MESH_FRONT_SHOWN_LEAVES_H_
