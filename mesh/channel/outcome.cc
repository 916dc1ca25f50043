#include "mesh/channel/outcome.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mesh/grpc/failure.h"

namespace mesh::channel {
namespace {

constexpr char kPreviousAttempts[] = "grpc-previous-rpc-attempts";
constexpr char kPushback[] = "grpc-retry-pushback-ms";
constexpr char kDraining[] = "mesh-draining";  // mesh/server/server.h
constexpr char kFaultAbort[] = "mesh-fault-abort";
constexpr char kFaultDelay[] = "mesh-fault-delay-ms";

// How much earlier the clock of the other side may let an attempt's deadline
// pass.
constexpr absl::Duration kClockSlack = absl::Milliseconds(5);

const grpc_metadata* Find(const grpc_metadata_array& array, const char* key) {
  for (size_t i = 0; i < array.count; ++i) {
    if (grpc_slice_str_cmp(array.metadata[i].key, key) == 0) {
      return &array.metadata[i];
    }
  }
  return nullptr;
}

}  // namespace

call::AttemptOutcome Explain(const grpc::Status& status,
                             absl::string_view debug,
                             const AttemptBounds& bounds) {
  call::AttemptOutcome outcome;
  outcome.code = static_cast<absl::StatusCode>(status.error_code());
  if (status.error_code() < 0 || status.error_code() > 16) {
    outcome.code = absl::StatusCode::kUnknown;  // Whatever it may mean.
  }
  outcome.never_sent = core::NeverSent(status, debug);
  outcome.local = core::IsLocal(status, debug);
  outcome.own = core::IsOwn(status, debug);
  outcome.answered = core::WasAnswered(status, debug);
  if (bounds.idempotent && core::LooksDropped(status, debug)) {
    outcome.code = absl::StatusCode::kUnavailable;
  }
  // gRPC also writes "received from peer" into statuses that it makes itself,
  // so the clock says whose deadline it was.
  const bool out_of_time =
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
      bounds.now + kClockSlack >= bounds.attempt_deadline;
  outcome.local |= out_of_time;
  outcome.attempt_timed_out =
      out_of_time && bounds.attempt_deadline < bounds.call_deadline;
  return outcome;
}

std::optional<absl::Duration> PushbackOf(const grpc_metadata_array& trailers) {
  const grpc_metadata* const entry = Find(trailers, kPushback);
  if (entry == nullptr) return std::nullopt;
  return ParsePushback(absl::string_view(
      reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(entry->value)),
      GRPC_SLICE_LENGTH(entry->value)));
}

absl::Duration ParsePushback(absl::string_view text) {
  int64_t milliseconds = -1;
  if (!absl::SimpleAtoi(text, &milliseconds)) milliseconds = -1;
  return absl::Milliseconds(milliseconds);
}

bool SaysDraining(const grpc_metadata_array& trailers) {
  return Find(trailers, kDraining) != nullptr;
}

void SayPreviousAttempts(int count,
                         std::multimap<std::string, std::string>* metadata) {
  metadata->erase(kPreviousAttempts);
  if (count > 0) metadata->emplace(kPreviousAttempts, absl::StrCat(count));
}

std::optional<absl::StatusCode> ParseCode(const std::string& text) {
  int number = 0;
  const bool is_number = absl::SimpleAtoi(text, &number);
  for (int code = 1; code <= 16; ++code) {
    const auto candidate = static_cast<absl::StatusCode>(code);
    if (is_number ? code == number
                  : text == absl::StatusCodeToString(candidate)) {
      return candidate;
    }
  }
  return std::nullopt;
}

HeaderFaults TakeFaults(std::multimap<std::string, std::string>* metadata) {
  HeaderFaults faults;
  if (const auto found = metadata->find(kFaultAbort);
      found != metadata->end()) {
    faults.abort = ParseCode(found->second);
    metadata->erase(kFaultAbort);
  }
  if (const auto found = metadata->find(kFaultDelay);
      found != metadata->end()) {
    uint32_t milliseconds = 0;
    if (absl::SimpleAtoi(found->second, &milliseconds)) {
      faults.delay = absl::Milliseconds(milliseconds);
    }
    metadata->erase(kFaultDelay);
  }
  return faults;
}

}  // namespace mesh::channel
