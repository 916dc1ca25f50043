#ifndef MESH_CONFIG_FILE_WATCHER_H_
#define MESH_CONFIG_FILE_WATCHER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/file_poller.h"
#include "mesh/base/scheduler.h"
#include "mesh/options/service.h"

namespace mesh::config {

// Loads a configuration file, and again whenever it has other contents, or a
// gRPC service config that it names has. An endpoints file is the resolver's,
// and the files of an identity are its source's. These may come later than the
// configuration that names them, so one that is refused is loaded again at each
// look.
class FileWatcher {
 public:
  // Hears what LoadFile() said of the new contents. Returns whether that is in
  // force now; otherwise it is refused, and the last good configuration stays.
  // `again`: nothing is new, and what was said last was refused.
  using Listener =
      std::function<bool(absl::StatusOr<options::MeshOptions>, bool again)>;

  explicit FileWatcher(std::string path,
                       absl::Duration interval = absl::Seconds(1));
  // After Start() on the loop's thread only; also inside the listener.
  ~FileWatcher();
  FileWatcher(const FileWatcher&) = delete;
  FileWatcher& operator=(const FileWatcher&) = delete;

  // What LoadFile() says. Before Start(), on any thread.
  absl::StatusOr<options::MeshOptions> Load();

  // Begins to watch: `listener` is called on the loop's thread with each change
  // since Load(), or with all there is if that was not called, and again while
  // it refuses. Once, on the loop's thread. `loop` must outlive this object.
  void Start(base::Scheduler* loop, Listener listener);

 private:
  struct Told {
    const Listener listener;
    bool refused = false;  // What it was told last.
  };

  void SetTimer(absl::Duration delay);
  void Look();

  // Constant.
  const std::string path_;
  const absl::Duration interval_;

  // On the loop's thread, once started.
  base::Scheduler* loop_ = nullptr;
  std::shared_ptr<Told> told_;
  base::Scheduler::TimerId timer_ = 0;
  std::vector<base::FilePoller> files_;  // What the last load read.
  bool changed_ = false;                 // Since the last load.
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_FILE_WATCHER_H_
