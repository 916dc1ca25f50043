#include "mesh/security/audit.h"

#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"

namespace mesh::security {

std::string CauseOf(const Decision& decision) {
  switch (decision.reason) {
    case Reason::kNoRules:
    case Reason::kNoAllow:
      return "";
    case Reason::kDenied:
      return absl::StrCat("deny[", decision.rule, "]");
    case Reason::kAllowed:
      return absl::StrCat("allow[", decision.rule, "]");
    case Reason::kNotAllowed:
      return "allow";
    case Reason::kBadPath:
      return "path";
    case Reason::kBadHeader:
      return "header";
    case Reason::kPlaintext:
      return "plaintext";
  }
  return "";
}

RefusalCounts::RefusalCounts(const Authorization& rules)
    : deny_rules_(rules.options().deny.size()),
      by_rule_(new Cell[deny_rules_]) {}

void RefusalCounts::Add(const Decision& decision) {
  if (decision.allowed && !decision.observed) return;
  Cell* cell = nullptr;
  switch (decision.reason) {
    case Reason::kNoRules:
    case Reason::kNoAllow:
    case Reason::kAllowed:
      return;
    case Reason::kDenied:
      if (static_cast<size_t>(decision.rule) >= deny_rules_) return;
      cell = &by_rule_[decision.rule];
      break;
    case Reason::kNotAllowed:
      cell = &not_allowed_;
      break;
    case Reason::kBadPath:
      cell = &bad_path_;
      break;
    case Reason::kBadHeader:
      cell = &bad_header_;
      break;
    case Reason::kPlaintext:
      cell = &plaintext_;
      break;
  }
  auto& count = decision.observed ? cell->observed : cell->refused;
  count.fetch_add(1, std::memory_order_relaxed);
}

RefusalCounts::Count RefusalCounts::Read(const Cell& cell) {
  return {cell.refused.load(std::memory_order_relaxed),
          cell.observed.load(std::memory_order_relaxed)};
}

RefusalCounts::Count RefusalCounts::OfDeny(size_t rule) const {
  return rule < deny_rules_ ? Read(by_rule_[rule]) : Count();
}

RefusalCounts::Count RefusalCounts::Of(Reason reason) const {
  switch (reason) {
    case Reason::kNoRules:
    case Reason::kNoAllow:
    case Reason::kAllowed:
      return {};
    case Reason::kNotAllowed:
      return Read(not_allowed_);
    case Reason::kBadPath:
      return Read(bad_path_);
    case Reason::kBadHeader:
      return Read(bad_header_);
    case Reason::kPlaintext:
      return Read(plaintext_);
    case Reason::kDenied:
      break;
  }
  Count sum;
  for (size_t i = 0; i < deny_rules_; ++i) {
    const Count count = Read(by_rule_[i]);
    sum.refused += count.refused;
    sum.observed += count.observed;
  }
  return sum;
}

AuditLimit::AuditLimit() { made_.fill(absl::InfinitePast()); }

bool AuditLimit::Admit(absl::Time now, uint64_t* left_out) {
  if (base::ToNanos(now) < full_until_.load(std::memory_order_relaxed)) {
    left_out_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  base::MutexLock lock(&mu_);
  absl::Time& oldest = made_[oldest_];
  if (now < oldest + absl::Seconds(1)) {
    left_out_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  oldest = now;
  oldest_ = (oldest_ + 1) % kMostPerSecond;
  full_until_.store(base::ToNanos(made_[oldest_] + absl::Seconds(1)),
                    std::memory_order_relaxed);
  *left_out = left_out_.exchange(0, std::memory_order_relaxed);
  return true;
}

}  // namespace mesh::security
