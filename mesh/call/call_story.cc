// What the call machine tells a person about a call that failed.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
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
         pushed_back_;
}

std::string CallMachine::Story(absl::Time now) const {
  return absl::StrCat(info_->service, ": ", Account(now));
}

std::string CallMachine::Account(absl::Time now) const {
  std::string text = absl::StrCat(
      attempts_,
      attempts_ == 1 ? " attempt was made in " : " attempts were made in ",
      Brief(now - info_->start));
  if (failures_.empty()) return absl::StrCat(text, ".");
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
  absl::StrAppend(
      &text,
      attempts_ > 1 ? ", and the last failed with " : ", and failed with ",
      absl::StatusCodeToString(last->code), " from ", last->address, ".");
  const absl::string_view why = WhyItStopped();
  if (!why.empty()) absl::StrAppend(&text, " ", "No other was made: ", why);
  return text;
}

Action CallMachine::FailAtDeadline(absl::Time now) {
  if (state_ == State::kDelayed) {
    return Fail(absl::StatusCode::kDeadlineExceeded,
                "the deadline passed during an injected delay.", now);
  }
  if (state_ == State::kBackingOff) {
    return Fail(absl::StatusCode::kDeadlineExceeded,
                "the deadline passed before a retry could begin.", now);
  }
  std::string why = "the deadline passed while the call waited for an endpoint";
  if (unreachable_.ok()) {
    why += ": none was ready in time.";
  } else {
    absl::string_view none = unreachable_.message();
    absl::ConsumePrefix(&none, absl::StrCat(info_->service, ": "));
    absl::StrAppend(&why, ", because ", none);
  }
  return Fail(absl::StatusCode::kDeadlineExceeded, why, now);
}

absl::string_view CallMachine::WhyItStopped() const {
  if (!stopped_.has_value()) return "";
  switch (*stopped_) {
    case Verdict::kTransparent:
    case Verdict::kHedge:
    case Verdict::kGoOn:
    case Verdict::kRetry:
      return "";
    case Verdict::kNotRetryable:
      if (!plan_.replayable) return "the request cannot be sent again.";
      return plan_.idempotent ? "retry.codes does not have this status."
                              : "the method is not said to be idempotent.";
    case Verdict::kCommitted:
      return "a part of the answer was delivered.";
    case Verdict::kAttemptsExhausted:
      return "retry.max_attempts allows no more.";
    case Verdict::kBudgetExhausted:
      return "retry_budget is exhausted.";
    case Verdict::kPushedBack:
      return "a server said not to retry.";
    case Verdict::kDeadline:
      return "no time is left for a retry.";
    case Verdict::kCancelled:
      return "the caller cancelled the call.";
  }
  return "";
}

}  // namespace mesh::call
