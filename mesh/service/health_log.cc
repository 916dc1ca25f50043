#include "mesh/service/health_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/live_endpoint.h"

namespace mesh::service {

HealthLog::HealthLog(std::string name, std::shared_ptr<base::Scheduler> control,
                     const base::Clock* clock, LogSink log)
    : name_(std::move(name)),
      control_(std::move(control)),
      clock_(clock),
      log_(std::move(log)) {}

void HealthLog::Note(const resilience::HealthChange& change) {
  // Doubts come and go where all is well.
  if (change.to == cluster::Health::kTrial ||
      change.cause == cluster::HealthCause::kAcquitted) {
    return;
  }
  std::string line = absl::StrCat(
      name_, ": ", change.endpoint->endpoint().address, " was ",
      cluster::NameOf(change.from), " and is ", cluster::NameOf(change.to),
      ": ", cluster::NameOf(change.cause), ".");
  control_->Post([this, line = std::move(line)] { Write(line); });
}

void HealthLog::Write(const std::string& line) {
  const absl::Time now = clock_->Now();
  if (now - since_ >= absl::Seconds(1)) {
    if (lines_ > kMost) {
      log_(LogSeverity::kInfo,
           absl::StrCat(name_, ": ", lines_ - kMost,
                        " more changes of health were not logged."));
    }
    since_ = now;
    lines_ = 0;
  }
  if (++lines_ <= kMost) log_(LogSeverity::kInfo, line);
}

}  // namespace mesh::service
