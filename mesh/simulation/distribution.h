#ifndef MESH_SIMULATION_DISTRIBUTION_H_
#define MESH_SIMULATION_DISTRIBUTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "mesh/base/random.h"

namespace mesh::simulation {

// A random duration. A value, made by one of the functions below. Samples are
// never negative and at most a day.
class Distribution {
 public:
  // A point of a distribution that was measured: a share `quantile` of all
  // samples is at most `value`.
  struct Point {
    double quantile = 0;  // In [0, 1].
    absl::Duration value;
  };

  Distribution() = default;  // Always zero.
  static Distribution Constant(absl::Duration value);
  static Distribution Exponential(absl::Duration mean);
  // The logarithm is normal with deviation `sigma`: p99 is `median` times
  // exp(2.33 * sigma).
  static Distribution LogNormal(absl::Duration median, double sigma);
  // Linear between the points. Below the first point and above the last it is
  // their value. Points are in ascending order of both fields.
  static Distribution Quantiles(const std::vector<Point>& points);

  // What is wrong with the parameters, or OK.
  absl::Status Check() const;

  // Nanoseconds.
  int64_t Sample(base::Random& random) const;

 private:
  enum class Kind : uint8_t { kConstant, kExponential, kLogNormal, kQuantiles };

  Kind kind_ = Kind::kConstant;
  double a_ = 0;  // Nanoseconds: the value, the mean or the median.
  double b_ = 0;  // sigma.
  struct Knot {
    double quantile;
    double value;
  };
  std::vector<Knot> knots_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_DISTRIBUTION_H_
