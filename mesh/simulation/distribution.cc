#include "mesh/simulation/distribution.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace mesh::simulation {
namespace {

constexpr double kMostNanoseconds = 86400e9;

double Nanoseconds(absl::Duration duration) {
  return absl::ToDoubleNanoseconds(duration);
}

}  // namespace

Distribution Distribution::Constant(absl::Duration value) {
  Distribution result;
  result.a_ = Nanoseconds(value);
  return result;
}

Distribution Distribution::Exponential(absl::Duration mean) {
  Distribution result;
  result.kind_ = Kind::kExponential;
  result.a_ = Nanoseconds(mean);
  return result;
}

Distribution Distribution::LogNormal(absl::Duration median, double sigma) {
  Distribution result;
  result.kind_ = Kind::kLogNormal;
  result.a_ = Nanoseconds(median);
  result.b_ = sigma;
  return result;
}

Distribution Distribution::Quantiles(const std::vector<Point>& points) {
  Distribution result;
  result.kind_ = Kind::kQuantiles;
  for (const Point& point : points) {
    result.knots_.push_back({point.quantile, Nanoseconds(point.value)});
  }
  return result;
}

absl::Status Distribution::Check() const {
  if (!(a_ >= 0 && a_ <= kMostNanoseconds)) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be in 0s..24h, but is ",
                     absl::FormatDuration(absl::Nanoseconds(a_))));
  }
  if (!(b_ >= 0 && b_ <= 10)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sigma must be in 0..10, but is ", b_));
  }
  if (kind_ == Kind::kQuantiles && knots_.empty()) {
    return absl::InvalidArgumentError("has no quantiles");
  }
  for (size_t i = 0; i < knots_.size(); ++i) {
    const Knot& knot = knots_[i];
    if (!(knot.quantile >= 0 && knot.quantile <= 1) ||
        !(knot.value >= 0 && knot.value <= kMostNanoseconds) ||
        (i > 0 && (knot.quantile < knots_[i - 1].quantile ||
                   knot.value < knots_[i - 1].value))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "quantile ", knot.quantile, " (",
          absl::FormatDuration(absl::Nanoseconds(knot.value)),
          ") must be in 0..1, its value in 0s..24h, and neither below the one "
          "before it"));
    }
  }
  return absl::OkStatus();
}

int64_t Distribution::Sample(base::Random& random) const {
  double value = a_;
  switch (kind_) {
    case Kind::kConstant:
      break;
    case Kind::kExponential:
      value = -a_ * std::log(1 - random.Unit());
      break;
    case Kind::kLogNormal: {
      // Box and Muller's transform; its second value is not kept, so that a
      // sample depends on nothing but the generator.
      constexpr double kTwoPi = 6.283185307179586;
      const double radius = std::sqrt(-2 * std::log(1 - random.Unit()));
      value = a_ * std::exp(b_ * radius * std::cos(kTwoPi * random.Unit()));
      break;
    }
    case Kind::kQuantiles: {
      const double at = random.Unit();
      const auto above = std::upper_bound(
          knots_.begin(), knots_.end(), at,
          [](double q, const Knot& knot) { return q < knot.quantile; });
      if (above == knots_.begin()) {
        value = above->value;
      } else if (above == knots_.end()) {
        value = knots_.back().value;
      } else {
        const Knot& low = *(above - 1);
        value = low.value + (above->value - low.value) * (at - low.quantile) /
                                (above->quantile - low.quantile);
      }
      break;
    }
  }
  return static_cast<int64_t>(std::min(value, kMostNanoseconds));
}

}  // namespace mesh::simulation
