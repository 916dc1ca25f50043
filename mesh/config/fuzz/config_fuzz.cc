// The reader of configurations, from any bytes.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mesh/config/loader.h"
#include "mesh/security/authorization.h"
#include "mesh/security/peer_pattern.h"

namespace {

void Require(bool condition) {
  if (!condition) abort();
}

void RequireGood(const mesh::options::MethodOptions& policy) {
  const mesh::options::HedgingOptions& hedging = policy.hedging;
  Require(hedging.max_attempts >= 2 && hedging.max_attempts <= 5);
  Require(hedging.delay.value_or(absl::Seconds(1)) > absl::ZeroDuration());
  Require(policy.idle_timeout > absl::ZeroDuration());
  const mesh::options::RateLimitOptions& limit = policy.rate_limit;
  Require(limit.mode == mesh::options::Mode::kOff ||
          (limit.per_second > 0 && limit.burst >= 1));
  const mesh::options::FaultOptions& fault = policy.fault;
  Require(fault.abort_share >= 0 && fault.abort_share <= 1);
  Require(fault.delay_share >= 0 && fault.delay_share <= 1);
  Require(fault.delay >= absl::ZeroDuration());
  Require(fault.abort_code != absl::StatusCode::kOk);
}

void RequireGood(const mesh::options::GuardOptions& guards) {
  const auto& ejection = guards.outlier_ejection;
  Require(ejection.latency.factor == 0 || ejection.latency.factor > 1);
  Require(ejection.max_ejection_percent + ejection.panic_threshold_percent <=
          100);
  Require(guards.caps.max_calls >= 0 && guards.caps.max_waiting >= 0);
  Require(guards.adaptive_concurrency.min_limit >= 1);
  Require(guards.breaker.failure_rate > 0);
  Require(!guards.silence.probe_method.empty() &&
          guards.silence.probe_method[0] == '/');
}

void RequireGood(const mesh::options::MeshOptions& options) {
  // The rules compile, so that no reload fails at a server.
  Require(mesh::security::Authorization::Make(options.server).ok());
  Require(options.identity.has_value() ||
          options.server.mode == mesh::options::ServerMode::kPlaintext);
  for (const auto& [unused, service] : options.services) {
    if (!service->tls.has_value()) continue;
    for (const std::string& peer : service->tls->peer) {
      Require(mesh::security::PeerPattern::Parse(peer).ok());
    }
  }
}

void Load(absl::string_view text, const char* name) {
  const auto options = mesh::config::LoadText(text, name);
  if (!options.ok()) {
    // An error is one for people: each line has the name of the file.
    Require(options.status().code() == absl::StatusCode::kInvalidArgument);
    for (const absl::string_view line :
         absl::StrSplit(options.status().message(), '\n')) {
      Require(absl::StartsWith(line, name) ||
              absl::StartsWith(line, "there are "));
    }
    return;
  }
  RequireGood(*options);
  for (const auto& [service_name, service] : options->services) {
    // What a valid configuration promises to the rooms that read it.
    Require(!service_name.empty() && service->name == service_name);
    Require(!service->authority.empty());
    service->AllIdempotent();
    service->PolicyOf("/a.B/C");
    for (const auto& [pattern, policy] : service->methods) {
      Require(&service->PolicyOf(pattern) == &policy);
      Require(policy.retry.max_attempts >= 1 &&
              policy.retry.max_attempts <= 10);
      Require(policy.retry.initial_backoff <= policy.retry.max_backoff);
      RequireGood(policy);
    }
    RequireGood(service->policy);
    RequireGood(service->guards);
  }
  // It can be written out, and reads back as it was written.
  const std::string written = options->written->Text(options->telemetry);
  const auto again = mesh::config::LoadText(written, "written.yaml");
  Require(again.ok() && again->written->Text(again->telemetry) == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  Load(text, "fuzz.yaml");
  Load(text, "fuzz.json");
  return 0;
}
