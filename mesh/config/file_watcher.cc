#include "mesh/config/file_watcher.h"

#include <algorithm>
#include <utility>

#include "mesh/base/clock.h"
#include "mesh/config/loader.h"

namespace mesh::config {
namespace {

// Between two looks at a file that is being written.
constexpr absl::Duration kSettlingInterval = absl::Milliseconds(100);

}  // namespace

FileWatcher::FileWatcher(std::string path, absl::Duration interval)
    : path_(std::move(path)), interval_(interval) {}

FileWatcher::~FileWatcher() {
  if (loop_ != nullptr) loop_->Cancel(timer_);
}

absl::StatusOr<options::MeshOptions> FileWatcher::Load() {
  std::vector<base::FileState> read;
  absl::StatusOr<options::MeshOptions> options = LoadFile(path_, &read);
  files_.clear();
  for (base::FileState& file : read) files_.emplace_back(std::move(file));
  return options;
}

void FileWatcher::Start(base::Scheduler* loop, Listener listener) {
  loop_ = loop;
  told_ = std::make_shared<Told>(Told{std::move(listener)});
  SetTimer(absl::ZeroDuration());
}

void FileWatcher::SetTimer(absl::Duration delay) {
  timer_ = loop_->RunAt(base::Clock::Real().Now() + delay, [this] { Look(); });
}

void FileWatcher::Look() {
  if (files_.empty()) changed_ = true;  // Never loaded.
  bool settling = false;
  for (base::FilePoller& file : files_) {
    const base::FilePoller::Change change = file.Look();
    if (change == base::FilePoller::Change::kContents) changed_ = true;
    if (change == base::FilePoller::Change::kSettling) settling = true;
  }
  if (settling) {
    SetTimer(std::min(interval_, kSettlingInterval));
    return;
  }
  SetTimer(interval_);
  if (!changed_ && !told_->refused) return;
  const bool again = !std::exchange(changed_, false);
  absl::StatusOr<options::MeshOptions> options = Load();
  // Kept here: the watcher may be destroyed inside the call.
  const std::shared_ptr<Told> told = told_;
  told->refused = !told->listener(std::move(options), again);
}

}  // namespace mesh::config
