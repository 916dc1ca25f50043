#ifndef MESH_SECURITY_FILES_H_
#define MESH_SECURITY_FILES_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/options/security.h"
#include "mesh/security/source.h"

namespace mesh::security {

// Which files make an identity.
struct IdentityPaths {
  std::string cert;  // With `key`, or both empty.
  std::string key;   // May be the same file as `cert`.
  // By trust domain, as in IdentityBytes.
  std::map<std::string, std::string> bundles;
  std::vector<std::string> crls;

  bool operator==(const IdentityPaths& o) const {
    return cert == o.cert && key == o.key && bundles == o.bundles &&
           crls == o.crls;
  }
};

// The files that a service names in its own `tls`, whatever its peers are. The
// bundle "" vouches for all of these: see PeerPolicy::one_bundle.
IdentityPaths FilesOf(const options::TlsOptions& tls);

// Publishes what stands in files, and what comes to stand there. A rename, or a
// symbolic link that is exchanged, is read at once. A file written in place is
// read when it has been still for FilesPolicy::kStill. Where the file system
// does not tell of changes, the files are looked at every second.
class FileSource final : public IdentitySource {
 public:
  // Reads the files once. An error names them, and says why that is no
  // identity. UNAVAILABLE: one cannot be read, and it names that one alone.
  // RESOURCE_EXHAUSTED: there is no thread.
  //
  // A key that everybody may read is told of where it comes later. At first it
  // is for the configuration to say, which knows the place.
  //
  // `loop` runs the source, with others if they share it; null: one of its own.
  // `wall` is the wall clock, for dates; it may be called on the loop.
  static absl::StatusOr<std::shared_ptr<FileSource>> Make(
      IdentityPaths files, std::shared_ptr<base::EventLoop> loop = nullptr,
      std::function<absl::Time()> wall = &base::WallTime);
  ~FileSource() override;

  void Subscribe(std::weak_ptr<IdentityListener> listener) override;

 private:
  class Watcher;
  explicit FileSource(std::shared_ptr<Watcher> watcher);

  const std::shared_ptr<Watcher> watcher_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_FILES_H_
