#ifndef MESH_SERVICE_APPLICATION_H_
#define MESH_SERVICE_APPLICATION_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/base/foreign_code.h"
#include "mesh/fallback.h"
#include "mesh/log.h"
#include "mesh/telemetry/observer.h"
#include "mesh/telemetry/snapshot.h"

namespace mesh::service {

// The application's own code, as it was given with the options of a Mesh. What
// it throws ends here. Thread-safe.
class Application {
 public:
  // `tell` is given a line about the first exception of an observer or a
  // fallback, on the thread of the call. stderr is told about the log sink's.
  Application(LogSink log,
              std::vector<std::shared_ptr<telemetry::Observer>> observers,
              std::map<std::string, Fallback> fallbacks,
              base::ForeignCode::Tell tell);
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  void Log(LogSeverity severity, absl::string_view line) const {
    log_(severity, line);
  }
  // An event on which an observer throws counts as ignored.
  const std::vector<std::shared_ptr<telemetry::Observer>>& observers() const {
    return observers_;
  }
  // Null: there is none. A fallback that throws has no answer. The result lives
  // as long as this object.
  const Fallback* FallbackOf(const std::string& service) const;

  // What each of them has thrown, without those that have thrown nothing.
  std::vector<telemetry::ExceptionsSnapshot> Exceptions() const;

 private:
  std::shared_ptr<base::ForeignCode> Border(std::string name,
                                            base::ForeignCode::Tell tell);

  // Constant after construction.
  std::vector<std::shared_ptr<base::ForeignCode>> borders_;
  LogSink log_;
  std::vector<std::shared_ptr<telemetry::Observer>> observers_;
  std::map<std::string, Fallback> fallbacks_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_APPLICATION_H_
