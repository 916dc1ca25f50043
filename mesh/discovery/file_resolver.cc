#include "mesh/discovery/file_resolver.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "mesh/base/clock.h"
#include "mesh/config/loader.h"

namespace mesh::discovery {
namespace {

// However short the configured interval.
constexpr absl::Duration kMinInterval = absl::Milliseconds(10);
// Between looks that Refresh() asks for.
constexpr absl::Duration kRefreshInterval = absl::Milliseconds(100);

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

}  // namespace

FileResolver::FileResolver(config::EndpointsFileOptions options,
                           base::EventLoop* loop)
    : path_(std::move(options.path)),
      interval_(std::max(kMinInterval, options.poll_interval)),
      loop_(loop) {}

FileResolver::~FileResolver() { loop_->Cancel(timer_); }

void FileResolver::Start(Listener listener) {
  listener_ = std::make_shared<const Listener>(std::move(listener));
  Look();
}

void FileResolver::Refresh() {
  SetTimer(looked_at_ + std::min(kRefreshInterval, interval_));
}

void FileResolver::SetTimer(absl::Time at) {
  loop_->Cancel(timer_);
  timer_ = loop_->RunAt(at, [this] { Look(); });
}

void FileResolver::Look() {
  looked_at_ = base::Clock::Real().Now();
  SetTimer(looked_at_ + interval_);

  const std::optional<Identity> identity = Identify();
  if (identity.has_value() && identity == identity_ && !unsettled_) return;
  absl::StatusOr<std::string> text = config::ReadFile(path_);
  if (!text.ok()) {
    identity_.reset();
    text_.reset();
    return Report(text.status());
  }
  const bool written = identity != identity_;
  unsettled_ = written;
  identity_ = identity;
  if (text_ == *text) {
    // Written again with the same words: of no endpoints, that is news.
    const bool says_none =
        error_.ok() && set_ != nullptr && set_->endpoints.empty();
    if (!written || !says_none) return;
  }
  text_ = *std::move(text);
  Report(config::ParseEndpoints(*text_, path_));
}

std::optional<FileResolver::Identity> FileResolver::Identify() const {
  struct stat file;
  if (stat(path_.c_str(), &file) != 0) return std::nullopt;
  return Identity(file.st_dev, file.st_ino, file.st_size,
                  Nanoseconds(file.st_mtim), Nanoseconds(file.st_ctim));
}

void FileResolver::Report(absl::StatusOr<cluster::EndpointSetPtr> update) {
  if (!update.ok()) {
    if (update.status() == error_) return;
    error_ = update.status();
  } else {
    const bool same = error_.ok() && set_ != nullptr && *set_ == **update;
    if (same && !set_->endpoints.empty()) return;
    error_ = absl::OkStatus();
    set_ = *update;
  }
  // Kept here: the resolver may be destroyed inside the call.
  const std::shared_ptr<const Listener> listener = listener_;
  (*listener)(std::move(update));
}

}  // namespace mesh::discovery
