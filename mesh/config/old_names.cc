#include "mesh/config/old_names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

constexpr char kTrial[] =
    "A trial finds endpoints that fail, without any setting.";
constexpr char kTrialSize[] =
    "A trial lasts until it has seen enough, without any setting.";
constexpr char kDelay[] =
    "\"delay: adaptive\" is 1.25 times the 95th percentile of the latency, and "
    "at least 1ms; \"delay\" may be a duration, too.";
constexpr char kSlowness[] =
    "guards.adaptive_concurrency and timeouts act on slowness.";

// Old path, new path, what acts in its place. The groups that moved stand under
// their old paths: FindOldName() brings others to that form.
constexpr OldName kOldNames[] = {
    {"Endpoint", "zone", "locality.zone", ""},
    {"MethodPolicy", "hedging.factor", "", kDelay},
    {"MethodPolicy", "hedging.min_delay", "", kDelay},
    {"MethodPolicy", "hedging.quantile", "", kDelay},
    {"MethodPolicy", "retry.backoff_multiplier", "",
     "Each wait is twice as long as the one before."},
    {"Service", "adaptive_concurrency", "guards.adaptive_concurrency", ""},
    {"Service", "adaptive_concurrency.algorithm", "",
     "The limit is always found as \"gradient\" found it."},
    {"Service", "adaptive_concurrency.initial_limit", "",
     "The limit begins with 100, or with min_limit where that is more."},
    {"Service", "adaptive_concurrency.max_limit", "",
     "The limit is at most 10000; guards.caps.max_calls bounds the calls below "
     "that."},
    {"Service", "black_hole", "silence", ""},
    {"Service", "black_hole.keepalive_time", "connections.keepalive_time", ""},
    {"Service", "black_hole.keepalive_timeout", "connections.keepalive_timeout",
     ""},
    {"Service", "black_hole.min_silence", "silence.min_duration", ""},
    {"Service", "black_hole.ramp", "outlier_ejection.ramp", ""},
    {"Service", "breaker", "guards.breaker", ""},
    {"Service", "breaker.min_calls", "",
     "The breaker opens when its window has at least 20 calls."},
    {"Service", "breaker.probes", "",
     "The breaker closes when 3 probes in a row went well."},
    {"Service", "breaker.slow_call", "", kSlowness},
    {"Service", "breaker.slow_call_rate", "", kSlowness},
    {"Service", "caps", "guards.caps", ""},
    {"Service", "caps.max_retries", "",
     "retry_budget bounds retries and hedges."},
    {"Service", "endpoints_file.poll_interval", "",
     "The file is looked at every second."},
    {"Service", "outlier_ejection.consecutive_failures", "", kTrial},
    {"Service", "outlier_ejection.consecutive_gateway_failures", "", kTrial},
    {"Service", "outlier_ejection.failure_percentage", "", kTrial},
    {"Service", "outlier_ejection.interval",
     "outlier_ejection.latency.min_duration", ""},
    {"Service", "outlier_ejection.latency.enabled", "",
     "\"factor: 0\" switches ejection for slowness off."},
    {"Service", "outlier_ejection.latency.minimum_hosts", "", kTrialSize},
    {"Service", "outlier_ejection.latency.request_volume", "", kTrialSize},
    {"Service", "outlier_ejection.max_ejection_time", "",
     "No ejection lasts longer than 10 times base_ejection_time."},
    {"Service", "outlier_ejection.success_rate", "", kTrial},
    {"Service", "rate_limit", "guards.rate_limit", ""},
    {"Service", "throttle", "guards.throttle", ""},
    {"Service", "throttle.k", "",
     "The throttle lets through twice what is accepted."},
    {"Service", "throttle.min_calls", "",
     "The throttle drops nothing before its window has 50 requests."},
    {"Service", "throttle.window", "", "The throttle's window is 30s."},
};

}  // namespace

absl::Span<const OldName> OldNames() { return kOldNames; }

bool HasOldNames(absl::string_view message) {
  return message == "Service" || message == "MethodPolicy" ||
         message == "Endpoint";
}

const OldName* FindOldName(absl::string_view message, absl::string_view path) {
  std::string old(absl::StripPrefix(path, "guards."));
  if (absl::ConsumePrefix(&path, "silence.")) {
    old = absl::StrCat("black_hole.", path);
  }
  for (const OldName& name : kOldNames) {
    if (message == name.message && old == name.path) return &name;
  }
  return nullptr;
}

std::string OldNameError(const OldName& old, const std::string& path,
                         const std::string& parent, bool beside) {
  if (*old.now == '\0') {
    return absl::StrCat(path, " no longer exists: remove it. ", old.instead);
  }
  const std::string now = FieldPath(parent, old.now);
  return beside
             ? absl::StrCat(path, " is an old name: remove it. ", now,
                            " has taken its place and is written, too.")
             : absl::StrCat(path, " is an old name: write ", now, " instead.");
}

}  // namespace mesh::config
