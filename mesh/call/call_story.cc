// What the call machine tells a person about a call that failed.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mesh/call/call_machine.h"

namespace mesh::call {
namespace {

// "3.2 ms", "412 ms", "1.52 s": for a person.
std::string Brief(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 0.01) return absl::StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 1) return absl::StrFormat("%.0f ms", seconds * 1e3);
  return absl::StrFormat("%.2f s", seconds);
}

}  // namespace

bool CallMachine::retried_in_vain() const {
  if (!finished() || last_code_ == absl::StatusCode::kOk || cancelled_) {
    return false;
  }
  return counted_attempts() > 1 || stopped_ == Verdict::kBudgetExhausted ||
         stopped_ == Verdict::kTooManyRetries || pushed_back_;
}

std::string CallMachine::Story(absl::Time now) const {
  return absl::StrCat(info_->service, ": ", Account(now));
}

std::string CallMachine::Account(absl::Time now) const {
  std::string text =
      absl::StrCat(attempts_, attempts_ == 1 ? " attempt" : " attempts", " in ",
                   Brief(now - info_->start));
  if (failures_.empty()) return text;
  const Failure* last = &failures_.front();
  for (const Failure& failure : failures_) {
    if (failure.attempt == last_attempt_) last = &failure;
  }
  if (failures_.size() > 1) {
    std::vector<Failure> tried = failures_;
    std::sort(tried.begin(), tried.end(), [](const auto& a, const auto& b) {
      return a.attempt < b.attempt;
    });
    for (size_t i = 0; i < tried.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? " (" : ", ");
      if (i > 0 && tried[i].attempt > tried[i - 1].attempt + 1 &&
          tried.size() == kMostFailures) {
        absl::StrAppend(&text, "..., ");
      }
      absl::StrAppend(&text, tried[i].address);
    }
    absl::StrAppend(&text, ")");
  }
  absl::StrAppend(&text, attempts_ > 1 ? ", last " : ", ",
                  absl::StatusCodeToString(last->code), " from ",
                  last->address);
  if (!stopped_.has_value()) return text;
  switch (*stopped_) {
    case Verdict::kTransparent:
    case Verdict::kHedge:
    case Verdict::kGoOn:
    case Verdict::kRetry:
      break;
    case Verdict::kNotRetryable:
      absl::StrAppend(&text, !plan_.replayable ? "; it cannot be sent again"
                             : !plan_.idempotent
                                 ? "; the method is not idempotent"
                                 : "; this status is not retried");
      break;
    case Verdict::kCommitted:
      absl::StrAppend(&text, "; a part of the answer was delivered");
      break;
    case Verdict::kAttemptsExhausted:
      absl::StrAppend(&text, "; no more attempts are allowed");
      break;
    case Verdict::kBudgetExhausted:
      absl::StrAppend(&text, "; retry budget exhausted");
      break;
    case Verdict::kTooManyRetries:
      absl::StrAppend(&text, "; too many retries at once");
      break;
    case Verdict::kPushedBack:
      absl::StrAppend(&text, "; a server said not to retry");
      break;
    case Verdict::kDeadline:
      absl::StrAppend(&text, "; no time left for a retry");
      break;
    case Verdict::kCancelled:
      absl::StrAppend(&text, "; cancelled by the caller");
      break;
  }
  return text;
}

}  // namespace mesh::call
