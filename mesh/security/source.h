#ifndef MESH_SECURITY_SOURCE_H_
#define MESH_SECURITY_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "mesh/base/mutex.h"
#include "mesh/security/identity.h"

namespace mesh::security {

// What a source tells beside identities. The last identity stays in force,
// whatever it is.
struct IdentityNotice {
  enum class Kind : uint8_t {
    // Why there is none, or no newer one.
    kUnreadable,   // A file cannot be read.
    kBad,          // What was read is no whole identity.
    kNotYetValid,  // It is one, and is published when its time comes.
    kNoAnswer,     // The agent is not there, does not answer, or refuses.
    // The last of those is over.
    kRecovered,
    // A third of the lifetime is left, or a tenth, or nothing. No source says
    // so: mesh does, whatever the source.
    kThirdLeft,
    kTenthLeft,
    kExpired,
    // What forbids nothing: Identity::warnings() and the like.
    kWarning,
  };
  Kind kind;
  std::string text;  // One sentence or more, never with bytes of a key.

  bool operator==(const IdentityNotice& o) const {
    return kind == o.kind && text == o.text;
  }
};

// "not_yet_valid": for a metric's label.
absl::string_view IdentityNoticeName(IdentityNotice::Kind kind);
// Whether it says why there is no newer identity.
bool IsRefusal(IdentityNotice::Kind kind);

// What is to be told when `after` is published: its warnings that `before` did
// not have, bundles that keep nothing of what they had, and revocation lists
// that are gone. `before` may be null.
std::vector<IdentityNotice> WarningsOf(const Identity* before,
                                       const Identity& after);

// Who hears of a source. Called on any thread, by one at a time. It must not
// block, throw, or call the source.
class IdentityListener {
 public:
  virtual ~IdentityListener() = default;
  // `identity` replaces the last one. Never null.
  virtual void OnIdentity(IdentityPtr identity) = 0;
  virtual void OnNotice(const IdentityNotice& notice) = 0;
};

// Where a process gets its identity from. An application may implement it.
// Thread-safe. It publishes whole identities, each newer than the last.
class IdentitySource {
 public:
  virtual ~IdentitySource() = default;

  // Publishes to `listener` from now on. What is already known comes first: the
  // last identity, and what was told since then. This may happen inside the
  // call or soon after. A listener that is gone hears nothing more; a call that
  // has begun keeps it alive.
  virtual void Subscribe(std::weak_ptr<IdentityListener> listener) = 0;

  class Static;
};

// What a source's listeners are told, in one order for all of them. It keeps
// what a later one has to know. Thread-safe, but nobody may call it from
// inside a listener.
class IdentityFeed {
 public:
  void Subscribe(std::weak_ptr<IdentityListener> listener);
  void Publish(IdentityPtr identity);
  void Notify(const IdentityNotice& notice);
  // Null: nothing was published yet.
  IdentityPtr last() const;

 private:
  // Those that are still there.
  std::vector<std::shared_ptr<IdentityListener>> Listeners();

  // Held while listeners are called, and taken before `mu_`.
  base::Mutex order_;

  mutable base::Mutex mu_;
  std::vector<std::weak_ptr<IdentityListener>> listeners_ ABSL_GUARDED_BY(mu_);
  IdentityPtr last_ ABSL_GUARDED_BY(mu_);
  // What was told since then; of refusals, the last if it is not over.
  std::vector<IdentityNotice> notices_ ABSL_GUARDED_BY(mu_);
};

// An identity in memory, which the application sets. A process that has set
// nothing yet has none. Thread-safe.
class IdentitySource::Static final : public IdentitySource {
 public:
  Static() = default;
  explicit Static(IdentityPtr identity) { Set(std::move(identity)); }

  // Publishes it. Not null. Not from inside a listener.
  void Set(IdentityPtr identity) { feed_.Publish(std::move(identity)); }
  void Subscribe(std::weak_ptr<IdentityListener> listener) override {
    feed_.Subscribe(std::move(listener));
  }

 private:
  IdentityFeed feed_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_SOURCE_H_
