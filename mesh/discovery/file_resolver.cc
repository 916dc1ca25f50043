#include "mesh/discovery/file_resolver.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "mesh/base/clock.h"
#include "mesh/base/file.h"

namespace mesh::discovery {
namespace {

// Between looks that Refresh() asks for, and at a file that is being written.
constexpr absl::Duration kSoon = absl::Milliseconds(100);

}  // namespace

FileResolver::FileResolver(options::EndpointsFileOptions options,
                           ParseEndpoints parse, base::Scheduler* loop,
                           absl::Duration interval)
    : path_(std::move(options.path)),
      interval_(interval),
      parse_(std::move(parse)),
      loop_(loop) {}

FileResolver::~FileResolver() { loop_->Cancel(timer_); }

void FileResolver::Start(Listener listener) {
  listener_ = std::make_shared<const Listener>(std::move(listener));
  looked_at_ = base::Clock::Real().Now();
  SetTimer(looked_at_ + interval_);
  Read();
}

void FileResolver::Refresh() {
  SetTimer(looked_at_ + std::min(kSoon, interval_));
}

void FileResolver::SetTimer(absl::Time at) {
  loop_->Cancel(timer_);
  timer_ = loop_->RunAt(at, [this] { Look(); });
}

void FileResolver::Look() {
  looked_at_ = base::Clock::Real().Now();
  const base::FilePoller::Change change = file_->Look();
  if (change == base::FilePoller::Change::kSettling) {
    return SetTimer(looked_at_ + std::min(kSoon, interval_));
  }
  SetTimer(looked_at_ + interval_);
  if (change == base::FilePoller::Change::kContents) Read();
}

void FileResolver::Read() {
  const absl::StatusOr<std::string> text = base::ReadFile(path_);
  file_.emplace(base::FileState{path_, base::Fingerprint(text)});
  if (!text.ok()) return Report(text.status());
  Report(parse_(*text, path_));
}

void FileResolver::Report(absl::StatusOr<cluster::EndpointSetPtr> update) {
  if (!update.ok()) {
    if (update.status() == error_) return;
    error_ = update.status();
  } else {
    const size_t hash = absl::HashOf(**update);
    if (error_.ok() && hash == hash_) return;
    error_ = absl::OkStatus();
    hash_ = hash;
  }
  // Kept here: the resolver may be destroyed inside the call.
  const std::shared_ptr<const Listener> listener = listener_;
  (*listener)(std::move(update));
}

}  // namespace mesh::discovery
