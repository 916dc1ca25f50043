#include "mesh/config/build_guards.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
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
  BuildSilence(service.silence(), FieldPath(path, "silence"),
               &options->silence);
  const v1::Guards& guards = service.guards();
  const std::string guards_path = FieldPath(path, "guards");
  BuildCaps(guards.caps(), FieldPath(guards_path, "caps"), &options->caps);
  Fields(guards.breaker()).GetAll(&options->breaker);
  Fields(guards.throttle()).GetAll(&options->throttle);
  Fields(guards.adaptive_concurrency()).GetAll(&options->adaptive_concurrency);

  std::optional<options::Mode> mode;
  std::optional<int> burst;
  Fields(guards.rate_limit())
      .Get("mode", &mode)
      .Get("per_second", &options->rate_limit.per_second)
      .Get("burst", &burst);
  FinishRateLimit(mode, burst, &options->rate_limit);
  for (const char* field : {"mode", "burst"}) {
    Needs(guards.rate_limit(), FieldPath(guards_path, "rate_limit"), field,
          "per_second");
  }
}

void GuardsBuilder::BuildEjection(const v1::OutlierEjection& ejection,
                                  const std::string& path,
                                  options::OutlierEjectionOptions* options) {
  Fields(ejection).GetAll(options);
  Fields(ejection.latency()).GetAll(&options->latency);
  // Panic would ignore that more than this are ejected.
  const int most = 100 - options->panic_threshold_percent;
  const std::string percent = FieldPath(path, "max_ejection_percent");
  const std::string panic = FieldPath(path, "panic_threshold_percent");
  if (options->max_ejection_percent > most &&
      (ejection.has_max_ejection_percent() ||
       ejection.has_panic_threshold_percent()) &&
      options->max_ejection_percent <= 100 && most > 0 &&
      !sources_.IsBad(percent) && !sources_.IsBad(panic)) {
    Add(sources_.Find(sources_.Has(percent) ? percent : panic), percent,
        " must be at most 100 - panic_threshold_percent, ", most, ", but is ",
        options->max_ejection_percent);
  }
}

void GuardsBuilder::BuildSilence(const v1::Silence& silence,
                                 const std::string& path,
                                 options::SilenceOptions* options) {
  Fields(silence).GetAll(options);
  absl::string_view method = options->probe_method;
  const std::string method_path = FieldPath(path, "probe_method");
  if (silence.probe_method().empty() && sources_.Has(method_path)) {
    method = "";
  }
  const absl::string_view written = method;
  if ((!absl::ConsumePrefix(&method, "/") ||
       !MethodPatternError(method).empty() || absl::StrContains(method, '*')) &&
      !sources_.IsBad(method_path)) {
    Add(sources_.Find(method_path), method_path,
        " must be \"/package.Service/Method\", but is ", Quoted(written));
  }
}

void GuardsBuilder::BuildCaps(const v1::Caps& caps, const std::string& path,
                              options::CapsOptions* options) {
  Fields(caps).GetAll(options);
  if (options->max_calls > 0) {  // 0 is no bound.
    CheckOrder(options->max_calls_per_endpoint,
               FieldPath(path, "max_calls_per_endpoint"), options->max_calls,
               FieldPath(path, "max_calls"));
  }
}

}  // namespace mesh::config
