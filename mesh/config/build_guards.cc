#include "mesh/config/build_guards.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mesh/config/fields.h"
#include "mesh/config/text.h"

namespace mesh::config {

void FinishRateLimit(std::optional<options::Mode> mode,
                     std::optional<int> burst,
                     options::RateLimitOptions* options) {
  if (options->per_second <= 0) return;
  options->mode = mode.value_or(options::Mode::kEnforce);
  options->burst =
      burst.has_value() ? *burst : std::max(1.0, options->per_second);
}

void GuardsBuilder::BuildGuards(const v1::Service& service,
                                const std::string& path,
                                options::GuardOptions* options) {
  BuildEjection(service.outlier_ejection(), FieldPath(path, "outlier_ejection"),
                &options->outlier_ejection);
  BuildBlackHole(service, path, &options->black_hole);
  BuildCaps(service.caps(), FieldPath(path, "caps"), &options->caps);

  Fields(service.breaker())
      .Get("mode", &options->breaker.mode)
      .Get("failure_rate", &options->breaker.failure_rate)
      .Get("slow_call", &options->breaker.slow_call)
      .Get("slow_call_rate", &options->breaker.slow_call_rate)
      .Get("window", &options->breaker.window)
      .Get("min_calls", &options->breaker.min_calls)
      .Get("open_for", &options->breaker.open_for)
      .Get("probes", &options->breaker.probes);
  Needs(service.breaker(), FieldPath(path, "breaker"), "slow_call_rate",
        "slow_call");

  Fields(service.throttle())
      .Get("mode", &options->throttle.mode)
      .Get("k", &options->throttle.k)
      .Get("window", &options->throttle.window)
      .Get("min_calls", &options->throttle.min_calls);

  BuildConcurrency(service.adaptive_concurrency(),
                   FieldPath(path, "adaptive_concurrency"),
                   &options->adaptive_concurrency);

  std::optional<options::Mode> mode;
  std::optional<int> burst;
  Fields(service.rate_limit())
      .Get("mode", &mode)
      .Get("per_second", &options->rate_limit.per_second)
      .Get("burst", &burst);
  FinishRateLimit(mode, burst, &options->rate_limit);
  for (const char* field : {"mode", "burst"}) {
    Needs(service.rate_limit(), FieldPath(path, "rate_limit"), field,
          "per_second");
  }
}

void GuardsBuilder::BuildEjection(const v1::OutlierEjection& ejection,
                                  const std::string& path,
                                  options::OutlierEjectionOptions* options) {
  Fields(ejection)
      .Get("mode", &options->mode)
      .Get("interval", &options->interval)
      .Get("base_ejection_time", &options->base_ejection_time)
      .Get("max_ejection_time", &options->max_ejection_time)
      .Get("max_ejection_percent", &options->max_ejection_percent)
      .Get("panic_threshold_percent", &options->panic_threshold_percent)
      .Get("consecutive_failures", &options->consecutive_failures)
      .Get("consecutive_gateway_failures",
           &options->consecutive_gateway_failures)
      .Get("consecutive_local_failures", &options->consecutive_local_failures);
  Fields(ejection.success_rate())
      .Get("enabled", &options->success_rate.enabled)
      .Get("stdev_factor", &options->success_rate.stdev_factor)
      .Get("minimum_hosts", &options->success_rate.minimum_hosts)
      .Get("request_volume", &options->success_rate.request_volume);
  Fields(ejection.failure_percentage())
      .Get("enabled", &options->failure_percentage.enabled)
      .Get("threshold", &options->failure_percentage.threshold)
      .Get("minimum_hosts", &options->failure_percentage.minimum_hosts)
      .Get("request_volume", &options->failure_percentage.request_volume);
  Fields(ejection.latency())
      .Get("enabled", &options->latency.enabled)
      .Get("factor", &options->latency.factor)
      .Get("min_difference", &options->latency.min_difference)
      .Get("minimum_hosts", &options->latency.minimum_hosts)
      .Get("request_volume", &options->latency.request_volume);
  CheckOrder(options->base_ejection_time, FieldPath(path, "base_ejection_time"),
             options->max_ejection_time, FieldPath(path, "max_ejection_time"));
  // Beyond this, panic ignores that they are ejected.
  const int most = 100 - options->panic_threshold_percent;
  const std::string percent = FieldPath(path, "max_ejection_percent");
  const std::string panic = FieldPath(path, "panic_threshold_percent");
  if (options->max_ejection_percent > most &&
      (ejection.has_max_ejection_percent() ||
       ejection.has_panic_threshold_percent()) &&
      options->max_ejection_percent <= 100 && most >= 0 &&
      !sources_.IsBad(percent) && !sources_.IsBad(panic)) {
    Add(sources_.Find(sources_.Has(percent) ? percent : panic), percent,
        " must be at most 100 - panic_threshold_percent, ", most, ", but is ",
        options->max_ejection_percent);
  }
}

void GuardsBuilder::BuildBlackHole(const v1::Service& service,
                                   const std::string& service_path,
                                   options::BlackHoleOptions* options) {
  const v1::BlackHole& black_hole = service.black_hole();
  const std::string path = FieldPath(service_path, "black_hole");
  Fields(black_hole)
      .Get("mode", &options->mode)
      .Get("min_silence", &options->min_silence)
      .Get("latency_factor", &options->latency_factor)
      .Get("probe_method", &options->probe_method)
      .Get("ramp", &options->ramp)
      .Get("keepalive_time", &options->keepalive_time)
      .Get("keepalive_timeout", &options->keepalive_timeout);
  absl::string_view method = options->probe_method;
  const std::string method_path = FieldPath(path, "probe_method");
  if (black_hole.probe_method().empty() && sources_.Has(method_path)) {
    method = "";
  }
  const absl::string_view written = method;
  if ((!absl::ConsumePrefix(&method, "/") ||
       !MethodPatternError(method).empty() || absl::StrContains(method, '*')) &&
      !sources_.IsBad(method_path)) {
    Add(sources_.Find(method_path), method_path,
        " must be \"/package.Service/Method\", but is ", Quoted(written));
  }
  Needs(black_hole, path, "keepalive_timeout", "keepalive_time");
  for (const auto& [field, has] :
       {std::make_pair("keepalive_time", black_hole.has_keepalive_time()),
        std::make_pair("keepalive_timeout",
                       black_hole.has_keepalive_timeout())}) {
    const std::string argument = absl::StrCat("grpc.", field, "_ms");
    if (has && service.channel_args().contains(argument)) {
      Add(sources_.Find(FieldPath(path, field)), service_path,
          " must have only one of black_hole.", field,
          " and the channel argument ", argument);
    }
  }
}

void GuardsBuilder::BuildCaps(const v1::Caps& caps, const std::string& path,
                              options::CapsOptions* options) {
  Fields(caps)
      .Get("mode", &options->mode)
      .Get("max_calls", &options->max_calls)
      .Get("max_calls_per_endpoint", &options->max_calls_per_endpoint)
      .Get("max_waiting", &options->max_waiting)
      .Get("max_retries", &options->max_retries)
      .Get("max_streams", &options->max_streams);
  if (options->max_calls > 0) {  // 0 is no bound.
    CheckOrder(options->max_calls_per_endpoint,
               FieldPath(path, "max_calls_per_endpoint"), options->max_calls,
               FieldPath(path, "max_calls"));
  }
}

void GuardsBuilder::BuildConcurrency(
    const v1::AdaptiveConcurrency& concurrency, const std::string& path,
    options::AdaptiveConcurrencyOptions* options) {
  Fields(concurrency)
      .Get("mode", &options->mode)
      .Get("initial_limit", &options->initial_limit)
      .Get("min_limit", &options->min_limit)
      .Get("max_limit", &options->max_limit)
      .Get("latency_factor", &options->latency_factor);
  if (concurrency.algorithm() == v1::AdaptiveConcurrency::AIMD) {
    options->algorithm = options::AdaptiveConcurrencyOptions::Algorithm::kAimd;
  }
  const std::string initial = FieldPath(path, "initial_limit");
  CheckOrder(options->min_limit, FieldPath(path, "min_limit"),
             options->initial_limit, initial);
  CheckOrder(options->initial_limit, initial, options->max_limit,
             FieldPath(path, "max_limit"));
}

}  // namespace mesh::config
