#ifndef MESH_DISCOVERY_FILE_RESOLVER_H_
#define MESH_DISCOVERY_FILE_RESOLVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "mesh/base/event_loop.h"
#include "mesh/config/options.h"
#include "mesh/discovery/resolver.h"

namespace mesh::discovery {

// Reads an endpoints file and polls it for changes. What identifies the file
// is that of the file behind all symbolic links, so that an exchanged link, a
// rename over it and a write in place are all seen. Text that differs only in
// its form is no change. A failure that lasts is reported once.
class FileResolver final : public Resolver {
 public:
  FileResolver(config::EndpointsFileOptions options, base::EventLoop* loop);
  ~FileResolver() override;

  void Start(Listener listener) override;
  // Looks soon.
  void Refresh() override;

 private:
  // Device, inode, size, modification and change time in nanoseconds.
  using Identity = std::tuple<dev_t, ino_t, off_t, int64_t, int64_t>;

  void Look();
  std::optional<Identity> Identify() const;
  void SetTimer(absl::Time at);
  // The last thing that a caller does: `this` may be gone afterwards.
  void Report(absl::StatusOr<cluster::EndpointSetPtr> update);

  // Constant.
  const std::string path_;
  const absl::Duration interval_;
  base::EventLoop* const loop_;

  // On the loop's thread.
  std::shared_ptr<const Listener> listener_;
  base::EventLoop::TimerId timer_ = 0;
  absl::Time looked_at_ = absl::InfinitePast();
  // The file whose text was read last; empty when reading failed. Read once
  // more at the next look (`unsettled_`): two writes within one tick of the
  // file system's clock have the same times.
  std::optional<Identity> identity_;
  bool unsettled_ = false;
  std::optional<std::string> text_;
  // What was reported last: an error, or `set_`. `set_` is null before the
  // first.
  absl::Status error_;
  cluster::EndpointSetPtr set_;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_FILE_RESOLVER_H_
