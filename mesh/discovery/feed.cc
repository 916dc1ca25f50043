#include "mesh/discovery/feed.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace mesh::discovery {

Feed::Feed(std::string name, Seams seams, Listener* listener)
    : name_(std::move(name)), seams_(std::move(seams)), listener_(listener) {}

Feed::~Feed() { End(); }

void Feed::Start(const options::EndpointSource& source) {
  End();
  resolver_ = seams_.make_resolver(source);
  resolver_->Start([this](absl::StatusOr<cluster::EndpointSetPtr> update) {
    OnResolved(std::move(update));
  });
}

void Feed::Stop() {
  End();
  resolved_ = false;
}

void Feed::End() {
  resolver_.reset();
  error_ = absl::OkStatus();
  filter_ = UpdateFilter();
  if (filter_timer_ != 0) seams_.control->Cancel(filter_timer_);
  filter_timer_ = 0;
}

void Feed::Refresh() {
  if (resolver_ != nullptr) resolver_->Refresh();
}

void Feed::AskAgain() {
  if (resolver_ != nullptr) resolver_->AskAgain();
}

Feed::Stats Feed::stats() const {
  base::MutexLock lock(&mu_);
  return stats_;
}

void Feed::OnResolved(absl::StatusOr<cluster::EndpointSetPtr> update) {
  {
    std::string error(update.status().message());
    base::MutexLock lock(&mu_);
    ++(update.ok() ? stats_.updates : stats_.failures);
    stats_.error.swap(error);
  }
  error_ = update.status();
  if (!update.ok()) {
    seams_.log(
        LogSeverity::kWarning,
        absl::StrCat(name_, ": discovery failed",
                     resolved_ ? ", and the last endpoints are kept: " : ": ",
                     update.status().message()));
    if (!resolved_) listener_->OnNoEndpoints();
  }
  Apply(filter_.OnUpdate(update, seams_.clock->Now()));
}

void Feed::Apply(const UpdateFilter::Decision& decision) {
  if (filter_timer_ != 0) seams_.control->Cancel(filter_timer_);
  filter_timer_ = 0;
  if (decision.apply != nullptr) {
    resolved_ = true;
    listener_->OnEndpoints(decision.apply);
  }
  if (decision.look_again == absl::InfiniteFuture()) return;
  if (filter_.doubting()) {
    {
      base::MutexLock lock(&mu_);
      ++stats_.doubted;
    }
    seams_.log(LogSeverity::kWarning,
               absl::StrCat(name_,
                            ": discovery suddenly reports no endpoints; the "
                            "last ones are kept for now."));
  }
  filter_timer_ = seams_.control->RunAt(decision.look_again, [this] {
    filter_timer_ = 0;
    Apply(filter_.OnTime(seams_.clock->Now()));
  });
}

}  // namespace mesh::discovery
