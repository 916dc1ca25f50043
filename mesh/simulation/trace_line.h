#ifndef MESH_SIMULATION_TRACE_LINE_H_
#define MESH_SIMULATION_TRACE_LINE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mesh::simulation {

// One line of a trace: what it is, and its words. It points into the text.
class Line {
 public:
  // INVALID_ARGUMENT when a word is not of the form key=value.
  static absl::StatusOr<Line> Parse(absl::string_view text, size_t number);

  absl::string_view kind() const { return kind_; }
  // The part that a replay must yield again.
  absl::string_view compared() const { return compared_; }
  size_t number() const { return number_; }
  bool Has(absl::string_view key) const { return words_.count(key) > 0; }
  // Whether it says where the random generator stood.
  bool Draws() const { return Has("random") && Text("random") != "0"; }
  absl::string_view Text(absl::string_view key) const {
    const auto it = words_.find(key);
    return it == words_.end() ? "" : it->second;
  }

  // The value of `key`, or an error kept in `bad`. "never" is the most.
  int64_t Number(absl::string_view key) const {
    const absl::string_view text = Text(key);
    if (text == "never") return kNever;
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value)) Bad(key);
    return value;
  }
  uint64_t Hex(absl::string_view key) const {
    uint64_t value = 0;
    if (!absl::SimpleHexAtoi(Text(key), &value)) Bad(key);
    return value;
  }
  double Real(absl::string_view key) const {
    double value = 0;
    if (!absl::SimpleAtod(Text(key), &value)) Bad(key);
    return value;
  }
  absl::Time Time(absl::string_view key) const {
    const int64_t value = Number(key);
    return value == kNever ? absl::InfiniteFuture()
                           : absl::FromUnixNanos(value);
  }
  absl::Duration Duration(absl::string_view key) const {
    const int64_t value = Number(key);
    return value == kNever ? absl::InfiniteDuration()
                           : absl::Nanoseconds(value);
  }

  // The first word that was asked for and is missing, or is not a number.
  absl::Status bad() const {
    return bad_.empty() ? absl::OkStatus()
                        : absl::InvalidArgumentError(absl::StrCat(
                              "line ", number_, ": ", bad_, " is \"",
                              Text(bad_), "\", which is not a number."));
  }
  void Bad(absl::string_view key) const {
    if (bad_.empty()) bad_ = std::string(key);
  }

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  absl::string_view kind_;
  absl::string_view compared_;
  size_t number_ = 0;
  std::map<absl::string_view, absl::string_view> words_;
  mutable std::string bad_;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_TRACE_LINE_H_
