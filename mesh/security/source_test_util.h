#ifndef MESH_SECURITY_SOURCE_TEST_UTIL_H_
#define MESH_SECURITY_SOURCE_TEST_UTIL_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/security/identity.h"
#include "mesh/security/source.h"

namespace mesh::security {

// A root that lives for ten years around `now`.
inline certs::Authority RootAt(absl::Time now, const std::string& name) {
  return *certs::Authority::MakeRoot(
      certs::AuthorityOptions(name, now - absl::Hours(5 * 8760),
                              now + absl::Hours(5 * 8760)),
      *certs::Key::Make(certs::KeyType::kP256));
}

// What "spiffe://prod/cart" shows below `root`.
inline certs::Issued SvidOf(const certs::Authority& root, absl::Time from,
                            absl::Time until) {
  return *root.Issue(certs::SvidOptions("spiffe://prod/cart", from, until));
}

inline IdentityBytes BytesOf(const certs::Issued& issued,
                             const std::string& bundle) {
  IdentityBytes bytes;
  bytes.chain = issued.chain;
  bytes.key = issued.key;
  bytes.bundles[""] = bundle;
  return bytes;
}

// Remembers all that it hears.
class Heard final : public IdentityListener {
 public:
  void OnIdentity(IdentityPtr identity) override {
    base::MutexLock lock(&mu_);
    identities_.push_back(std::move(identity));
    changed_.SignalAll();
  }
  void OnNotice(const IdentityNotice& notice) override {
    base::MutexLock lock(&mu_);
    notices_.push_back(notice);
    changed_.SignalAll();
  }

  std::vector<IdentityPtr> identities() const {
    base::MutexLock lock(&mu_);
    return identities_;
  }
  std::vector<IdentityNotice> notices() const {
    base::MutexLock lock(&mu_);
    return notices_;
  }
  // The serial number of the last identity; empty: none.
  std::string serial() const {
    base::MutexLock lock(&mu_);
    return identities_.empty() ? "" : identities_.back()->serial();
  }

  // Waits until `done()`, which is asked after each change. False: it took half
  // a minute.
  bool WaitFor(const std::function<bool()>& done) {
    const absl::Time deadline = base::Clock::Real().Now() + absl::Seconds(30);
    while (!done()) {
      base::MutexLock lock(&mu_);
      const absl::Duration left = deadline - base::Clock::Real().Now();
      if (left <= absl::ZeroDuration()) return false;
      // A change between done() and here is seen a little later.
      changed_.WaitWithTimeout(&mu_, std::min(left, absl::Milliseconds(10)));
    }
    return true;
  }
  bool WaitForSerial(const std::string& serial_number) {
    return WaitFor([&] { return serial() == serial_number; });
  }
  bool WaitForNotice(IdentityNotice::Kind kind) {
    return WaitFor([&] {
      for (const IdentityNotice& notice : notices()) {
        if (notice.kind == kind) return true;
      }
      return false;
    });
  }

 private:
  mutable base::Mutex mu_;
  base::CondVar changed_;
  std::vector<IdentityPtr> identities_ ABSL_GUARDED_BY(mu_);
  std::vector<IdentityNotice> notices_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_SOURCE_TEST_UTIL_H_
