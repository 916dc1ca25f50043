#ifndef MESH_SECURITY_EXPIRY_H_
#define MESH_SECURITY_EXPIRY_H_

#include <optional>

#include "absl/time/time.h"
#include "mesh/security/identity.h"
#include "mesh/security/source.h"

namespace mesh::security {

// Says that an identity has not been renewed in time: when a third of its
// lifetime is left, a tenth, and nothing. Each is said once per identity; of
// several that are due, the last. Pure. Not thread-safe.
class ExpiryAlarm {
 public:
  // From now on it is about `identity`. One that never ends is never due.
  void Set(const Identity& identity);
  // What is to be said at the wall clock's `now`, if anything.
  std::optional<IdentityNotice> Due(absl::Time now);
  // When something is to be said next. InfiniteFuture: never.
  absl::Time next() const;

 private:
  // How much of the lifetime is left at step 0, 1, 2.
  absl::Time At(int step) const;

  absl::Time from_ = absl::InfinitePast();
  absl::Time until_ = absl::InfiniteFuture();
  int step_ = 3;  // The next to say. 3: none.
};

// "2026-11-30T07:27:33Z".
std::string WrittenTime(absl::Time time);

}  // namespace mesh::security

#endif  // MESH_SECURITY_EXPIRY_H_
