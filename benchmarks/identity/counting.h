#ifndef MESH_BENCHMARKS_IDENTITY_COUNTING_H_
#define MESH_BENCHMARKS_IDENTITY_COUNTING_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

// Arithmetic of the benches of identities.

namespace mesh::benchmarks {

// The least sample that `share` of all do not exceed (nearest rank). 0 when
// there is none.
double Percentile(std::vector<double> samples, double share);

// The slope of the line that fits best (least squares). 0 when all x are one.
double Slope(const std::vector<std::pair<double, double>>& points);

// How much the least y of the last quarter exceeds that of the first quarter,
// per unit of x. What comes and goes does not count, as long as it is away at
// some time in each quarter. 0 with fewer than 8 points.
double FloorSlope(const std::vector<std::pair<double, double>>& points);

// One line of Prometheus' text format.
struct Sample {
  std::map<std::string, std::string> labels;
  double value = 0;
};
// All lines of the metric `name`. Label values of this bench have no quotes.
std::vector<Sample> SamplesOf(absl::string_view text, absl::string_view name);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_COUNTING_H_
