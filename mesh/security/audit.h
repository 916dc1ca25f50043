#ifndef MESH_SECURITY_AUDIT_H_
#define MESH_SECURITY_AUDIT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "mesh/base/mutex.h"
#include "mesh/security/authorization.h"

// What is kept of calls that rules refused, or would have refused.

namespace mesh::security {

// By what a decision came about, for records and metrics: "deny[3]",
// "allow[0]", and "allow", "path", "header" or "plaintext" where no rule
// matched. Empty: the call was admitted without a rule.
std::string CauseOf(const Decision& decision);

// Counts the refusals of one set of rules, exactly. Lock-free; any number of
// threads may call it at once.
class RefusalCounts {
 public:
  struct Count {
    uint64_t refused = 0;
    uint64_t observed = 0;  // Admitted, because it is only counted.

    bool operator==(Count o) const {
      return refused == o.refused && observed == o.observed;
    }
  };

  // `rules` outlives this object.
  explicit RefusalCounts(const Authorization& rules);

  // A call that was admitted and would have been so anyway is not counted.
  void Add(const Decision& decision);

  // The refusals by a rule of `deny`, which has that place in it.
  Count OfDeny(size_t rule) const;
  // All that were for `reason`; for kDenied the sum of all rules.
  Count Of(Reason reason) const;
  size_t deny_rules() const { return deny_rules_; }

 private:
  struct Cell {
    std::atomic<uint64_t> refused{0};
    std::atomic<uint64_t> observed{0};
  };
  static Count Read(const Cell& cell);

  const size_t deny_rules_;
  const std::unique_ptr<Cell[]> by_rule_;
  Cell not_allowed_;
  Cell bad_path_;
  Cell bad_header_;
  Cell plaintext_;
};

// Lets through at most kMostPerSecond records in any second, so that a caller
// who is refused often fills no log. Thread-safe.
class AuditLimit {
 public:
  static constexpr size_t kMostPerSecond = 10;

  AuditLimit();

  // Whether to make a record at `now`, which is monotonic. If so, `left_out` is
  // set to how many were not made since the last one.
  bool Admit(absl::Time now, uint64_t* left_out);

 private:
  // Nobody need take the lock before this, in nanoseconds.
  std::atomic<int64_t> full_until_{std::numeric_limits<int64_t>::min()};
  std::atomic<uint64_t> left_out_{0};

  base::Mutex mu_;
  // When the last records were made, in a ring.
  std::array<absl::Time, kMostPerSecond> made_ ABSL_GUARDED_BY(mu_);
  size_t oldest_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_AUDIT_H_
