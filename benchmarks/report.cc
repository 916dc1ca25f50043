#include "benchmarks/report.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mesh::benchmarks {

Estimate MedianOf(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t n = samples.size();
  Estimate estimate;
  estimate.median = (samples[(n - 1) / 2] + samples[n / 2]) / 2;
  // The number of samples below the true median is binomial(n, 1/2).
  const double reach = 0.98 * std::sqrt(static_cast<double>(n));  // 1.96 / 2
  const double middle = static_cast<double>(n) / 2;
  const auto low =
      static_cast<size_t>(std::max(0.0, std::floor(middle - reach)));
  estimate.low = samples[n < 6 ? 0 : low];
  estimate.high = samples[n < 6 ? n - 1 : n - 1 - low];
  return estimate;
}

Table::Table(std::vector<std::string> header) { Row(std::move(header)); }

void Table::Row(std::vector<std::string> cells) {
  rows_.push_back(std::move(cells));
}

std::string Table::Text() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string& cell = rows_[r][i];
      const std::string padding(widths[i] - cell.size(), ' ');
      if (i == 0) {
        absl::StrAppend(&line, cell, padding);
      } else {
        absl::StrAppend(&line, "  ", padding, cell);
      }
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
    if (r > 0) continue;
    size_t total = 0;
    for (size_t width : widths) total += width + 2;
    absl::StrAppend(&text, std::string(total - 2, '-'), "\n");
  }
  return text;
}

std::string Number(double value, int decimals) {
  return absl::StrFormat("%.*f", decimals, value);
}

std::string Number(const Estimate& estimate, int decimals) {
  return absl::StrCat(Number(estimate.median, decimals), " (",
                      Number(estimate.low, decimals), " to ",
                      Number(estimate.high, decimals), ")");
}

Report::Report(int* argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < *argc; ++i) {
    if (std::strcmp(argv[i], "--json") != 0) {
      argv[kept++] = argv[i];
      continue;
    }
    if (++i == *argc) {
      std::fprintf(stderr, "%s: --json needs a file.\n", argv[0]);
      std::exit(2);
    }
    json_file_ = argv[i];
  }
  *argc = kept;
}

void Report::Metric(absl::string_view name, double value) {
  metrics_[std::string(name)] = value;
}

void Report::Metric(absl::string_view name, const Estimate& estimate) {
  Metric(name, estimate.median);
  Metric(absl::StrCat(name, "_low"), estimate.low);
  Metric(absl::StrCat(name, "_high"), estimate.high);
}

std::string Report::Json() const {
  std::string json = "{";
  const char* separator = "\n";
  for (const auto& [name, value] : metrics_) {
    // JSON has no word for infinity and the like.
    const std::string number =
        std::isfinite(value) ? absl::StrFormat("%.9g", value) : "null";
    absl::StrAppend(&json, separator, "  \"", name, "\": ", number);
    separator = ",\n";
  }
  absl::StrAppend(&json, "\n}\n");
  return json;
}

int Report::Write() const {
  if (json_file_.empty()) return 0;
  const std::string json = Json();
  std::FILE* const file = std::fopen(json_file_.c_str(), "w");
  const bool written =
      file != nullptr &&
      std::fwrite(json.data(), 1, json.size(), file) == json.size();
  if (file == nullptr || std::fclose(file) != 0 || !written) {
    std::fprintf(stderr, "the file \"%s\" could not be written: %s.\n",
                 json_file_.c_str(), std::strerror(errno));
    return 1;
  }
  return 0;
}

}  // namespace mesh::benchmarks
