#include "benchmarks/identity/counting.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mesh::benchmarks {

double Percentile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(share * static_cast<double>(samples.size()));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return samples[std::min(index, samples.size() - 1)];
}

double Slope(const std::vector<std::pair<double, double>>& points) {
  if (points.empty()) return 0;
  double x = 0, y = 0;
  for (const auto& point : points) {
    x += point.first;
    y += point.second;
  }
  x /= static_cast<double>(points.size());
  y /= static_cast<double>(points.size());
  double above = 0, below = 0;
  for (const auto& point : points) {
    above += (point.first - x) * (point.second - y);
    below += (point.first - x) * (point.first - x);
  }
  return below == 0 ? 0 : above / below;
}

double FloorSlope(const std::vector<std::pair<double, double>>& points) {
  if (points.size() < 8) return 0;
  const size_t quarter = points.size() / 4;
  const auto least = [&](size_t from, size_t to) {
    double floor = std::numeric_limits<double>::infinity();
    for (size_t i = from; i < to; ++i)
      floor = std::min(floor, points[i].second);
    return floor;
  };
  const double width = points.back().first - points.front().first;
  if (width == 0) return 0;
  return (least(points.size() - quarter, points.size()) - least(0, quarter)) /
         width;
}

std::vector<Sample> SamplesOf(absl::string_view text, absl::string_view name) {
  std::vector<Sample> samples;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, name)) continue;
    Sample sample;
    if (absl::ConsumePrefix(&line, "{")) {
      const size_t end = line.find('}');
      if (end == absl::string_view::npos) continue;
      for (const absl::string_view label :
           absl::StrSplit(line.substr(0, end), ',', absl::SkipEmpty())) {
        const std::pair<absl::string_view, absl::string_view> sides =
            absl::StrSplit(label, absl::MaxSplits('=', 1));
        absl::string_view value = sides.second;
        absl::ConsumePrefix(&value, "\"");
        absl::ConsumeSuffix(&value, "\"");
        sample.labels[std::string(sides.first)] = std::string(value);
      }
      line.remove_prefix(end + 1);
    }
    // Another metric may begin with this name.
    if (!absl::ConsumePrefix(&line, " ")) continue;
    if (!absl::SimpleAtod(line, &sample.value)) continue;
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace mesh::benchmarks
