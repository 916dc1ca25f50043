#include "mesh/call/trace.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace mesh::call {

using telemetry::AttemptEvent;
using telemetry::AttemptReason;
using telemetry::CallEvent;
using telemetry::CallInfo;
using telemetry::CallStartEvent;
using telemetry::HealthEvent;
using telemetry::PickerEvent;
using telemetry::PickEvent;
using telemetry::ProbeEvent;
using telemetry::RefusalEvent;
using telemetry::RetryEvent;

namespace {

// Most members whose loads are written down at each pick.
constexpr size_t kMostMembers = 256;

std::string Nanoseconds(absl::Time time) {
  return time == absl::InfiniteFuture() ? "never"
                                        : absl::StrCat(absl::ToUnixNanos(time));
}

std::string Nanoseconds(absl::Duration duration) {
  return duration == absl::InfiniteDuration()
             ? "never"
             : absl::StrCat(absl::ToInt64Nanoseconds(duration));
}

absl::string_view NameOf(AttemptReason reason) {
  switch (reason) {
    case AttemptReason::kFirst:
      return "first";
    case AttemptReason::kTransparent:
      return "transparent";
    case AttemptReason::kRetry:
      return "retry";
    case AttemptReason::kHedge:
      return "hedge";
  }
  return "?";
}

absl::string_view NameOf(PickEvent::Result result) {
  switch (result) {
    case PickEvent::Result::kUsed:
      return "used";
    case PickEvent::Result::kWaited:
      return "waited";
    case PickEvent::Result::kFailed:
      return "failed";
    case PickEvent::Result::kDeclined:
      return "declined";
  }
  return "?";
}

absl::string_view NameOf(RetryEvent::Verdict verdict) {
  using Verdict = RetryEvent::Verdict;
  switch (verdict) {
    case Verdict::kTransparent:
      return "transparent";
    case Verdict::kRetry:
      return "retry";
    case Verdict::kHedge:
      return "hedge";
    case Verdict::kGoOn:
      return "go_on";
    case Verdict::kNotRetryable:
      return "not_retryable";
    case Verdict::kCommitted:
      return "committed";
    case Verdict::kAttemptsExhausted:
      return "attempts_exhausted";
    case Verdict::kBudgetExhausted:
      return "budget_exhausted";
    case Verdict::kPushedBack:
      return "pushed_back";
    case Verdict::kDeadline:
      return "deadline";
    case Verdict::kCancelled:
      return "cancelled";
  }
  return "?";
}

absl::string_view NameOf(ProbeEvent::Stage stage) {
  switch (stage) {
    case ProbeEvent::Stage::kSent:
      return "sent";
    case ProbeEvent::Stage::kAnswered:
      return "answered";
    case ProbeEvent::Stage::kFailed:
      return "failed";
  }
  return "?";
}

std::string AddressOf(const cluster::EndpointView& endpoint) {
  return endpoint ? trace::Escape(endpoint.address()) : "-";
}

// All endpoints, with what the pick may have gone by.
void AppendMembers(const PickEvent& event, std::string* line) {
  const size_t size = event.endpoints.size();
  bool located = false;
  for (size_t i = 0; i < size; ++i) {
    const cluster::EndpointView member = event.endpoints[i];
    located |= !(member.endpoint->locality() == cluster::Locality());
    if (size > kMostMembers) continue;
    int64_t in_flight = member.in_flight;
    if (member.SameEndpoint(event.endpoint)) --in_flight;  // This very pick.
    for (int k = 0; k < event.candidates && k < 2; ++k) {
      // Exactly what was compared; the others may have changed since.
      if (member.SameEndpoint(event.candidate[k])) {
        in_flight = event.candidate[k].in_flight;
      }
    }
    absl::StrAppend(line, i == 0 ? " members=" : ",", AddressOf(member), "=",
                    in_flight, "=",
                    member.closed ? "closed" : trace::NameOf(member.readiness));
  }
  if (located) absl::StrAppend(line, " localities=1");
}

}  // namespace

namespace trace {

std::string Escape(absl::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 127 || c == '%' || c == '|' || c == ',' ||
        c == '=') {
      absl::StrAppendFormat(&result, "%%%02x", byte);
    } else {
      result.push_back(c);
    }
  }
  return result;
}

std::string Unescape(absl::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        absl::SimpleHexAtoi(text.substr(i + 1, 2), &byte)) {
      result.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

absl::string_view NameOf(cluster::Readiness readiness) {
  switch (readiness) {
    case cluster::Readiness::kIdle:
      return "idle";
    case cluster::Readiness::kConnecting:
      return "connecting";
    case cluster::Readiness::kReady:
      return "ready";
    case cluster::Readiness::kFailed:
      return "failed";
  }
  return "?";
}

absl::string_view NameOf(options::Mode mode) {
  switch (mode) {
    case options::Mode::kOff:
      return "off";
    case options::Mode::kObserve:
      return "observe";
    case options::Mode::kEnforce:
      return "enforce";
  }
  return "?";
}

std::string PickLine(uint64_t id, const PickEvent& event) {
  std::string line = absl::StrFormat(
      "pick id=%d t=%s reason=%s attempt=%d result=%s endpoint=%s random=%x",
      id, Nanoseconds(event.time), call::NameOf(event.reason), event.attempt,
      call::NameOf(event.result), AddressOf(event.endpoint),
      event.random_state);
  for (int i = 0; i < event.candidates && i < 2; ++i) {
    absl::StrAppend(&line, i == 0 ? " candidates=" : ",",
                    AddressOf(event.candidate[i]), "=",
                    event.candidate[i].in_flight);
  }
  return line;
}

std::string AttemptLine(uint64_t id, const AttemptEvent& event) {
  return absl::StrCat(
      "attempt id=", id, " t=", Nanoseconds(event.end),
      " started=", Nanoseconds(event.start), " attempt=", event.attempt,
      " reason=", call::NameOf(event.reason),
      " endpoint=", AddressOf(event.endpoint),
      " code=", static_cast<int>(event.code),
      " never_sent=", event.never_sent ? 1 : 0,
      " timed_out=", event.timed_out ? 1 : 0,
      " committed=", event.committed ? 1 : 0, " local=", event.local ? 1 : 0,
      " given_up=", event.given_up ? 1 : 0, " pushback=",
      event.pushback.has_value() ? Nanoseconds(*event.pushback) : "none");
}

std::string RetryLine(uint64_t id, const RetryEvent& event) {
  return absl::StrFormat(
      "retry id=%d t=%s attempt=%d code=%d verdict=%s delay=%s random=%x%s", id,
      Nanoseconds(event.time), event.attempt, static_cast<int>(event.code),
      call::NameOf(event.verdict), Nanoseconds(event.delay), event.random_state,
      event.observed ? " observed=1" : "");
}

std::string RefusalLine(uint64_t id, const RefusalEvent& event) {
  return absl::StrCat("refusal id=", id, " t=", Nanoseconds(event.time),
                      " guard=", base::NameOf(event.guard),
                      " observed=", event.observed ? 1 : 0,
                      " code=", static_cast<int>(event.code),
                      " delay=", Nanoseconds(event.delay));
}

std::string EndLine(uint64_t id, const CallEvent& event) {
  return absl::StrCat("end id=", id, " t=", Nanoseconds(event.end),
                      " code=", static_cast<int>(event.code),
                      " attempts=", event.attempts);
}

}  // namespace trace

TraceRecorder::TraceRecorder(options::BalancingPolicy policy, size_t max_bytes)
    : max_bytes_(max_bytes),
      text_(absl::StrCat("mesh-trace version=1 balancing=",
                         policy == options::BalancingPolicy::kLeastRequest
                             ? "least_request"
                             : "round_robin",
                         "\n")) {}

std::string TraceRecorder::Text() const {
  base::MutexLock lock(&mu_);
  return text_;
}

void TraceRecorder::OnPicker(const PickerEvent& event) {
  std::string members;
  for (const PickerEvent::Member& member : event.members) {
    absl::StrAppend(&members, members.empty() ? " members=" : ",",
                    AddressOf(member.endpoint), "=", member.weight, "=",
                    member.priority, "=",
                    trace::NameOf(member.endpoint.readiness));
  }
  base::MutexLock lock(&mu_);
  const uint64_t id = ++pickers_;
  picker_ids_[event.picker] = id;
  // Always: calls that are recorded may use it.
  Append(absl::StrCat("picker id=", id, " t=", Nanoseconds(event.time),
                      " service=", trace::Escape(event.service), members));
}

void TraceRecorder::OnCallStart(const CallInfo& call,
                                const CallStartEvent& event) {
  const telemetry::AttemptPolicy& policy = event.policy;
  constexpr uint32_t kAllCodes = (1u << 17) - 1;
  const std::string rest = absl::StrCat(
      " t=", Nanoseconds(event.time), " service=", trace::Escape(call.service),
      " method=", trace::Escape(call.method),
      " deadline=", Nanoseconds(call.deadline),
      " idempotent=", event.idempotent ? 1 : 0,
      " wait_for_ready=", event.wait_for_ready ? 1 : 0,
      " replayable=", event.replayable ? 1 : 0, " unary=", event.unary ? 1 : 0,
      " max_attempts=", policy.max_attempts,
      " codes=", policy.retryable & kAllCodes,
      " initial_backoff=", Nanoseconds(policy.initial_backoff),
      " max_backoff=", Nanoseconds(policy.max_backoff),
      absl::StrFormat(" backoff_multiplier=%.17g", policy.backoff_multiplier),
      " attempt_timeout=", Nanoseconds(policy.attempt_timeout),
      " hedging=", trace::NameOf(static_cast<options::Mode>(policy.hedges)),
      " hedging_max_attempts=", policy.max_hedged_attempts);
  base::MutexLock lock(&mu_);
  if (text_.size() >= max_bytes_) return;
  const uint64_t id = ++calls_;
  ids_[&call] = id;
  Append(absl::StrCat("call id=", id, rest));
}

void TraceRecorder::OnPick(const CallInfo& call, const PickEvent& event) {
  base::MutexLock lock(&mu_);
  const uint64_t id = IdOf(call);
  if (id == 0) return;
  std::string line = trace::PickLine(id, event);
  const auto picker = picker_ids_.find(event.picker);
  if (picker != picker_ids_.end()) {
    absl::StrAppend(&line, " | picker=", picker->second,
                    event.by_health ? " by_health=1" : "");
    AppendMembers(event, &line);
  }
  Append(line);
}

void TraceRecorder::OnAttemptEnd(const CallInfo& call,
                                 const AttemptEvent& event) {
  base::MutexLock lock(&mu_);
  if (const uint64_t id = IdOf(call)) Append(trace::AttemptLine(id, event));
}

void TraceRecorder::OnRetryDecision(const CallInfo& call,
                                    const RetryEvent& event) {
  base::MutexLock lock(&mu_);
  if (const uint64_t id = IdOf(call)) Append(trace::RetryLine(id, event));
}

void TraceRecorder::OnRefusal(const CallInfo& call, const RefusalEvent& event) {
  base::MutexLock lock(&mu_);
  if (const uint64_t id = IdOf(call)) {
    Append(absl::StrCat(trace::RefusalLine(id, event),
                        " | why=", trace::Escape(event.why)));
  }
}

void TraceRecorder::OnHealth(const HealthEvent& event) {
  base::MutexLock lock(&mu_);
  if (text_.size() >= max_bytes_) return;
  Append(absl::StrCat("health t=", Nanoseconds(event.time),
                      " service=", trace::Escape(event.service),
                      " endpoint=", AddressOf(event.endpoint),
                      " from=", cluster::NameOf(event.from),
                      " to=", cluster::NameOf(event.to),
                      " cause=", cluster::NameOf(event.cause),
                      " observed=", event.observed ? 1 : 0));
}

void TraceRecorder::OnProbe(const ProbeEvent& event) {
  base::MutexLock lock(&mu_);
  if (text_.size() >= max_bytes_) return;
  Append(absl::StrCat("probe t=", Nanoseconds(event.time),
                      " service=", trace::Escape(event.service),
                      " endpoint=", AddressOf(event.endpoint),
                      " stage=", NameOf(event.stage)));
}

void TraceRecorder::OnCallEnd(const CallInfo& call, const CallEvent& event) {
  base::MutexLock lock(&mu_);
  if (const uint64_t id = IdOf(call)) {
    Append(trace::EndLine(id, event));
    ids_.erase(&call);
  }
}

uint64_t TraceRecorder::IdOf(const CallInfo& call) const {
  const auto it = ids_.find(&call);
  return it == ids_.end() ? 0 : it->second;
}

void TraceRecorder::Append(const std::string& line) {
  absl::StrAppend(&text_, line, "\n");
}

}  // namespace mesh::call
