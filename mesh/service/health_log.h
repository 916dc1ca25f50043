#ifndef MESH_SERVICE_HEALTH_LOG_H_
#define MESH_SERVICE_HEALTH_LOG_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/scheduler.h"
#include "mesh/log.h"
#include "mesh/resilience/health/monitor.h"

namespace mesh::service {

// Log lines about the health of one service's endpoints, at most a few per
// second.
class HealthLog {
 public:
  // The most lines per second. One more line says how many were left out.
  static constexpr int kMost = 10;

  // `name`: the service's. Closures on `control` run on the control thread, and
  // only while this lives. `clock` outlives this.
  HealthLog(std::string name, std::shared_ptr<base::Scheduler> control,
            const base::Clock* clock, LogSink log);
  HealthLog(const HealthLog&) = delete;
  HealthLog& operator=(const HealthLog&) = delete;

  // Any thread. It logs later, on the control thread, since a log sink may take
  // its time.
  void Note(const resilience::HealthChange& change);

 private:
  void Write(const std::string& line);

  // Constant.
  const std::string name_;
  const std::shared_ptr<base::Scheduler> control_;
  const base::Clock* const clock_;
  const LogSink log_;

  // Control thread only. They count in the second that began then.
  absl::Time since_ = absl::InfinitePast();
  int lines_ = 0;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_HEALTH_LOG_H_
