#ifndef MESH_DISCOVERY_FILE_RESOLVER_H_
#define MESH_DISCOVERY_FILE_RESOLVER_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/base/file_poller.h"
#include "mesh/base/scheduler.h"
#include "mesh/discovery/resolver.h"
#include "mesh/options/endpoints.h"

namespace mesh::discovery {

// Reads an endpoints file and polls it for changes, as FilePoller tells them. A
// text that says the same in another form is no change. A failure that lasts is
// reported once.
class FileResolver final : public Resolver {
 public:
  // How often the file is looked at. A look is one stat(): a second is soon
  // enough for people and programs that write such files.
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  // Tests may have another interval.
  FileResolver(options::EndpointsFileOptions options, ParseEndpoints parse,
               base::Scheduler* loop, absl::Duration interval = kInterval);
  ~FileResolver() override;

  void Start(Listener listener) override;
  // Looks soon.
  void Refresh() override;

 private:
  void SetTimer(absl::Time at);
  // These are the last thing that a caller does: `this` may be gone afterwards.
  void Look();
  void Read();
  void Report(absl::StatusOr<cluster::EndpointSetPtr> update);

  // Constant.
  const std::string path_;
  const absl::Duration interval_;
  const ParseEndpoints parse_;
  base::Scheduler* const loop_;

  // On the loop's thread.
  std::shared_ptr<const Listener> listener_;
  base::Scheduler::TimerId timer_ = 0;
  absl::Time looked_at_ = absl::InfinitePast();
  std::optional<base::FilePoller> file_;  // As it was read last.
  // What was reported last: an error, or a set with that hash. Empty before the
  // first set. The set itself is not kept, because it may be big.
  absl::Status error_;
  std::optional<size_t> hash_;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_FILE_RESOLVER_H_
