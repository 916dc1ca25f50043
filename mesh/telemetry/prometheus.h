#ifndef MESH_TELEMETRY_PROMETHEUS_H_
#define MESH_TELEMETRY_PROMETHEUS_H_

#include <string>
#include <vector>

#include "mesh/telemetry/snapshot.h"

namespace mesh::telemetry {

// `snapshot` in Prometheus' text exposition format, version 0.0.4. Names follow
// gRFC A66 where it has one. A series of what may never happen appears once it
// has happened.
std::string PrometheusText(const Snapshot& snapshot);

// One metric family, as docs/reference/metrics.md lists it.
struct MetricFamily {
  const char* name;
  const char* type;    // "counter", "gauge" or "histogram".
  const char* labels;  // "grpc_target grpc_method".
  const char* help;    // One line.
  // Its series appear when what they count first occurs.
  bool once_occurred = false;
};

// All that PrometheusText() writes, in its order.
const std::vector<MetricFamily>& MetricFamilies();

}  // namespace mesh::telemetry

#endif  // MESH_TELEMETRY_PROMETHEUS_H_
