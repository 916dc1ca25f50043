#ifndef MESH_BENCHMARKS_REPORT_H_
#define MESH_BENCHMARKS_REPORT_H_

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// What every benchmark does with its results: a table for people on stdout and
// flat metrics for programs in a file.

namespace mesh::benchmarks {

// The middle of repeated measurements. `low` and `high` bound the true median
// with 95% confidence, whatever the distribution (order statistics). With fewer
// than 6 samples they are the least and the greatest.
struct Estimate {
  double median = 0;
  double low = 0;
  double high = 0;
};

// `samples` is not empty.
Estimate MedianOf(std::vector<double> samples);

// Columns as wide as they need; the first to the left, the others to the
// right.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // As many cells as the header has.
  void Row(std::vector<std::string> cells);
  std::string Text() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // With the header.
};

// A number with `decimals` digits after the point.
std::string Number(double value, int decimals = 2);
// "1.23 (1.20 to 1.27)".
std::string Number(const Estimate& estimate, int decimals = 2);

// The metrics of one run.
class Report {
 public:
  // Reads `--json FILE`, the one argument that all benchmarks have, and takes
  // it out of `argv`. Ends the process with an explanation when FILE is
  // missing.
  Report(int* argc, char** argv);

  // `name` as "p2c.10.t1.ratio". A name given again replaces the value.
  void Metric(absl::string_view name, double value);
  // `name`, and its bounds as `name`_low and `name`_high.
  void Metric(absl::string_view name, const Estimate& estimate);

  // Writes the file, if one was asked for. What main() is to return: 0, or 1
  // with an explanation on stderr when it could not be written.
  int Write() const;

  std::string Json() const;

 private:
  std::string json_file_;  // Empty: none.
  std::map<std::string, double> metrics_;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_REPORT_H_
