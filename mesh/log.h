#ifndef MESH_LOG_H_
#define MESH_LOG_H_

#include <functional>

#include "absl/strings/string_view.h"

namespace mesh {

enum class LogSeverity { kInfo, kWarning, kError };

// Where log lines go. It is called on any thread and must not block. The mesh
// holds no lock then, so the sink may call it back, but must not destroy it. A
// Reload() logs, too: called by the sink, it calls the sink again before it
// returns. Lines are rare: they tell of changes and troubles, never of single
// calls. What the sink throws is caught and counted, the line is lost, and
// stderr is told once.
using LogSink = std::function<void(LogSeverity, absl::string_view line)>;

}  // namespace mesh

#endif  // MESH_LOG_H_
