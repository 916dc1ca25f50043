#ifndef MESH_BENCHMARKS_OUTAGES_FIGURES_H_
#define MESH_BENCHMARKS_OUTAGES_FIGURES_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "benchmarks/report.h"

// What the outages bench counts, and what it says of it. No I/O but the lines
// that Figures prints.

namespace mesh::benchmarks {

// What a figure must be.
struct Wanted {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();

  bool Met(double value) const { return value >= least && value <= most; }
  // "<= 1.15", ">= 0.999", "0", "0.27 to 0.33".
  std::string Text() const;
};
Wanted AtMost(double most);
Wanted AtLeast(double least);
Wanted Between(double least, double most);

// Prints each figure as it comes, and hands it to the report.
class Figures {
 public:
  explicit Figures(Report* report) : report_(report) {}

  // A figure that is judged.
  void Judge(const std::string& key, double value, const Wanted& wanted);
  // One that is only told.
  void Tell(const std::string& key, double value);

  // Whether all that was judged is as wanted.
  bool met() const { return met_; }

 private:
  void Print(const std::string& key, double value, const std::string& wanted,
             const char* verdict);

  Report* const report_;
  bool met_ = true;
  bool begun_ = false;
};

// What of `all` `--only=` names: "a,b" in any order. An error names what is
// unknown.
absl::StatusOr<std::set<std::string>> ParseOnly(
    absl::string_view only, const std::vector<std::string>& all);

// What became of one call.
struct Outcome {
  absl::Time due;  // Monotonic.
  absl::Duration took;
  int code = 0;       // A grpc::StatusCode.
  bool late = false;  // It began later than it was due by more than allowed.
  std::string by;     // The server that answered. Empty: it is not known.
  std::string why;    // The message of its status.

  bool ok() const { return code == 0 && !late; }
};

// What became of calls that were due in a time.
struct Counts {
  int64_t calls = 0;
  int64_t failed = 0;
  int64_t late = 0;  // Calls that only began late.
  int64_t by = 0;    // Answered by servers whose name begins with a letter.

  double success() const;   // Share of all, 1 if there are none.
  double by_share() const;  // Share of the answered ones, 0 if there are none.
};
// Counts calls that were due from `from` until before `to`.
Counts CountDue(const std::vector<Outcome>& outcomes, absl::Time from,
                absl::Time to, char by = '\0');

// From `fault` until the first call was due that was OK, with the `row` - 1
// after it. Nothing when there is none. `outcomes` come in any order.
std::optional<absl::Duration> RecoveredAfter(std::vector<Outcome> outcomes,
                                             absl::Time fault, int row);

// Connections that a peer process wrote down. Each is a line "accept
// NANOSECONDS" or "close NANOSECONDS", by the monotonic clock.
struct Accepted {
  std::vector<absl::Time> accepts;
  std::vector<absl::Time> closes;

  // From `from` until before `to`.
  int64_t AcceptedIn(absl::Time from, absl::Time to) const;
  int64_t OpenAt(absl::Time time) const;
};
// Takes a last line without an end for unwritten.
Accepted ParseAccepted(absl::string_view text);

// The most of `times` that are in any `window`.
int64_t MostWithin(std::vector<absl::Time> times, absl::Duration window);

// One endpoint's health from a moment on.
struct HealthChange {
  absl::Time time;
  std::string address;
  bool out = false;      // Ejected or silent.
  bool ejected = false;  // Has just been ejected.
};
// Time that endpoints were out between `from` and `to`, over
// `endpoints` x (`to` - `from`). Changes come in the order of their times.
double OutShare(const std::vector<HealthChange>& changes, int endpoints,
                absl::Time from, absl::Time to);

// The local ports of connections in one state, from the text of /proc/net/tcp
// or tcp6, whose other end is one of `ports`.
std::set<int> PortsTo(absl::string_view proc_net_tcp,
                      const std::set<int>& ports, int state);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_FIGURES_H_
