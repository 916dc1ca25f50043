#ifndef MESH_BENCHMARKS_OUTAGES_TRIAL_ROWS_H_
#define MESH_BENCHMARKS_OUTAGES_TRIAL_ROWS_H_

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// The rows of the outages bench that the simulator plays. They show how soon an
// endpoint is found that fails a part of its calls. They also show how often an
// endpoint that is like the others is ejected.

namespace mesh::benchmarks {

struct TrialRow {
  std::string key;  // "partial_40.found_after_calls".
  double value = 0;
  // What it may be at most. Infinity: it is only told.
  double most = std::numeric_limits<double>::infinity();
};

// What RunTrialRows() may be asked for: "partial_10", ..., "trial".
std::vector<std::string> TrialRowNames();

// Runs the row of that name, and hands over each figure as it is known. Takes
// minutes, on one thread.
void RunTrialRows(absl::string_view name,
                  const std::function<void(const TrialRow&)>& tell);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_TRIAL_ROWS_H_
