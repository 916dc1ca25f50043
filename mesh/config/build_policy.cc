#include "mesh/config/build_policy.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/file.h"
#include "mesh/config/build_guards.h"
#include "mesh/config/text.h"

namespace mesh::config {

void PolicyBuilder::BuildPolicies(const v1::Service& service,
                                  const std::string& path,
                                  options::ServiceOptions* options) {
  const GrpcServiceConfig grpc =
      BuildGrpcServiceConfig(service, FieldPath(path, "grpc_service_config"));
  const Layer widest{&service.policy(), FieldPath(path, "policy")};
  CheckLayer(widest);
  options->policy = Merge("", {widest}, grpc.Find(""));

  const std::string methods_path = FieldPath(path, "methods");
  std::map<std::string, Layer> methods;
  for (const auto& [pattern, policy] : service.methods()) {
    const Layer layer{&policy, KeyPath(methods_path, pattern)};
    const std::string error = MethodPatternError(pattern);
    if (!error.empty()) {
      Add(sources_.FindKey(layer.path), methods_path, ": ", Quoted(pattern),
          " ", error);
    }
    CheckLayer(layer);
    methods.emplace(pattern, layer);
  }
  std::set<std::string> patterns;
  for (const auto& [pattern, layer] : methods) patterns.insert(pattern);
  for (const auto& [pattern, config] : grpc.methods) patterns.insert(pattern);
  patterns.erase("");
  for (const std::string& pattern : patterns) {
    std::vector<Layer> layers;
    const auto add = [&](const std::string& key) {
      const auto it = methods.find(key);
      if (it != methods.end()) layers.push_back(it->second);
    };
    add(pattern);
    const std::string star =
        absl::StrCat(pattern.substr(0, pattern.rfind('/') + 1), "*");
    if (star != pattern) add(star);
    layers.push_back(widest);
    options->methods[pattern] = Merge(pattern, layers, grpc.Find(pattern));
  }
  ReportUseless();
}

options::MethodOptions PolicyBuilder::Merge(const std::string& pattern,
                                            const std::vector<Layer>& layers,
                                            const GrpcMethodConfig* grpc) {
  options::MethodOptions options;
  if (grpc != nullptr) {
    options.timeout = grpc->timeout.value_or(options.timeout);
    options.wait_for_ready = grpc->wait_for_ready;
    if (grpc->retry.has_value()) {  // Also where it hedges.
      options.retry = *grpc->retry;
      options.idempotent = true;  // Its author asserted that.
    }
    if (grpc->hedging.has_value()) options.hedging = *grpc->hedging;
  }
  // From the widest to the narrowest, each over the ones before.
  Given given{sources_, {}};
  std::optional<options::Mode> rate_limit_mode, fault_mode;
  std::optional<int> burst;
  double abort_percent = 0, delay_percent = 0;
  std::string abort_code;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const v1::MethodPolicy& policy = *layer->policy;
    const auto fields = [&](const google::protobuf::Message& message,
                            const char* group) {
      return Fields(message, layer->path, group, &given);
    };
    fields(policy, "").GetAll(&options);
    fields(policy.retry(), "retry").GetAll(&options.retry);
    if (policy.retry().codes_size() > 0) {
      options.retry.codes = options::StatusCodeSet();
      for (const std::string& name : policy.retry().codes()) {
        if (const auto code = StatusCodeFromName(name)) {
          options.retry.codes = options.retry.codes.With(*code);
        }
      }
    }
    fields(policy.hedging(), "hedging").GetAll(&options.hedging);
    fields(policy.rate_limit(), "rate_limit")
        .Get("mode", &rate_limit_mode)
        .Get("per_second", &options.rate_limit.per_second)
        .Get("burst", &burst);
    fields(policy.fault(), "fault")
        .Get("mode", &fault_mode)
        .Get("abort_percent", &abort_percent)
        .Get("abort_code", &abort_code)
        .Get("delay_percent", &delay_percent)
        .Get("delay", &options.fault.delay)
        .Get("by_header", &options.fault.by_header);
  }
  // Zero is how the schema says `adaptive`.
  if (options.hedging.delay == absl::ZeroDuration()) {
    options.hedging.delay.reset();
  }
  FinishRateLimit(rate_limit_mode, burst, &options.rate_limit);
  options::FaultOptions& fault = options.fault;
  fault.abort_share = abort_percent / 100;
  fault.delay_share = delay_percent / 100;
  fault.abort_code = StatusCodeFromName(abort_code).value_or(fault.abort_code);
  if (fault.abort_share > 0 || fault.delay_share > 0 || fault.by_header) {
    fault.mode = fault_mode.value_or(options::Mode::kEnforce);
  }
  CheckPolicy(pattern, options, given);
  return options;
}

void PolicyBuilder::CheckLayer(const Layer& layer) {
  CheckCodes(*layer.policy, layer.path);
  const std::string& code = layer.policy->fault().abort_code();
  const std::string code_path = FieldPath(layer.path, "fault.abort_code");
  if (!code.empty()) {
    CheckCode(code, code_path, /*may_be_cancelled=*/true);
  } else if (sources_.Has(code_path) && !sources_.IsBad(code_path)) {
    Add(sources_.Find(code_path), code_path, " must not be empty");
  }
}

void PolicyBuilder::CheckPolicy(const std::string& pattern,
                                const options::MethodOptions& options,
                                const Given& given) {
  const auto path = [&](const char* field) {
    const auto it = given.paths.find(field);
    return it == given.paths.end() ? std::string() : it->second;
  };
  // Names the method where the path of a field in a wider policy does not.
  const auto method = [&](const std::string& path) {
    return pattern.empty() || absl::StrContains(path, KeyPath("", pattern))
               ? std::string()
               : absl::StrCat(", for ", pattern);
  };
  const options::RetryOptions& retry = options.retry;
  const std::string attempt_timeout = path("retry.attempt_timeout");
  if (!attempt_timeout.empty() && !sources_.IsBad(attempt_timeout) &&
      retry.attempt_timeout >= options.timeout) {
    Add(sources_.Find(attempt_timeout), attempt_timeout,
        " must be less than the method's timeout of ",
        DurationToText(options.timeout), ", but is ",
        DurationToText(retry.attempt_timeout), method(attempt_timeout));
  }
  const std::string initial = path("retry.initial_backoff");
  const std::string max = path("retry.max_backoff");
  if (!initial.empty() || !max.empty()) {
    // One that is not given is named as if it stood beside the other.
    const std::string low =
        initial.empty()
            ? FieldPath(max.substr(0, max.rfind('.')), "initial_backoff")
            : initial;
    CheckOrder(retry.initial_backoff, low, retry.max_backoff,
               max.empty() ? "max_backoff" : max, method(low));
  }

  const options::HedgingOptions& hedging = options.hedging;
  if (hedging.mode != options::Mode::kOff) {
    Judge(path("hedging.mode"), options.idempotent == false,
          " must be off where idempotent is false: a hedge executes a call "
          "twice");
    // An adaptive delay follows what the calls take.
    const absl::Duration delay = hedging.delay.value_or(absl::ZeroDuration());
    const bool late = delay >= options.timeout;
    Judge(path("hedging.delay"),
          hedging.delay.has_value() && (late || delay >= retry.attempt_timeout),
          absl::StrCat(
              " must be less than the method's ",
              late ? "timeout" : "retry.attempt_timeout", " of ",
              DurationToText(late ? options.timeout : retry.attempt_timeout),
              ", but is ", DurationToText(delay)));
  }
  Judge(path("idle_timeout"), options.idle_timeout >= options.timeout,
        absl::StrCat(" must be less than the method's timeout of ",
                     DurationToText(options.timeout), ", but is ",
                     DurationToText(options.idle_timeout)));
  for (const char* field : {"rate_limit.mode", "rate_limit.burst"}) {
    Judge(path(field), path("rate_limit.per_second").empty(),
          " does nothing without per_second");
  }
  Judge(path("fault.abort_code"), path("fault.abort_percent").empty(),
        " does nothing without abort_percent");
  Judge(path("fault.delay"), path("fault.delay_percent").empty(),
        " does nothing without delay_percent");
  Judge(path("fault.delay_percent"),
        options.fault.delay_share > 0 && path("fault.delay").empty(),
        " does nothing without delay");
}

void PolicyBuilder::Judge(const std::string& path, bool useless,
                          absl::string_view why) {
  if (path.empty() || sources_.IsBad(path)) return;
  Use& use = uses_[path];
  if (!useless) {
    use.any = true;
  } else if (use.why_not.empty()) {
    use.why_not = std::string(why);
  }
}

void PolicyBuilder::ReportUseless() {
  for (const auto& [path, use] : uses_) {
    if (!use.any) Add(sources_.Find(path), path, use.why_not);
  }
  uses_.clear();
}

void PolicyBuilder::CheckCodes(const v1::MethodPolicy& policy,
                               const std::string& path) {
  const std::string codes_path = FieldPath(FieldPath(path, "retry"), "codes");
  const auto& codes = policy.retry().codes();
  if (codes.empty() && sources_.Has(codes_path) &&
      !sources_.IsBad(codes_path)) {
    Add(sources_.Find(codes_path), codes_path,
        " must not be empty; \"max_attempts: 1\" is no retry");
  }
  std::set<std::string> seen;
  for (int i = 0; i < codes.size(); ++i) {
    const std::string at = IndexPath(codes_path, i);
    if (sources_.IsBad(at)) continue;
    if (CheckCode(codes[i], at, /*may_be_cancelled=*/false) &&
        !seen.insert(codes[i]).second) {
      Add(sources_.Find(at), at, " is ", Quoted(codes[i]),
          ", which is given twice");
    }
  }
}

bool PolicyBuilder::CheckCode(const std::string& name, const std::string& path,
                              bool may_be_cancelled) {
  const std::optional<absl::StatusCode> code = StatusCodeFromName(name);
  if (!code.has_value()) {
    Add(sources_.Find(path), path,
        " must be the name of a gRPC status code, but is ", Quoted(name),
        DidYouMeanStatus(name));
    return false;
  }
  if (*code == absl::StatusCode::kOk ||
      (*code == absl::StatusCode::kCancelled && !may_be_cancelled)) {
    Add(sources_.Find(path), path, " must be the code of a failure, but is ",
        Quoted(name));
    return false;
  }
  return true;
}

GrpcServiceConfig PolicyBuilder::BuildGrpcServiceConfig(
    const v1::Service& service, const std::string& path) {
  if (!service.has_grpc_service_config()) return {};
  const v1::ServiceConfig& config = service.grpc_service_config();
  if (config.path().empty() == config.json().empty()) {
    if (!sources_.IsBad(path)) {
      Add(sources_.Find(path), path,
          config.path().empty() ? " must have one of path and json"
                                : " must have only one of path and json");
    }
    return {};
  }
  if (!config.json().empty()) {
    const std::string json_path = FieldPath(path, "json");
    Problems inner("");
    GrpcServiceConfig result = ParseGrpcServiceConfig(config.json(), &inner);
    for (const Problems::Problem& problem : inner.list()) {
      problems_.Add(
          sources_.Find(json_path),
          absl::StrCat(json_path, ", line ", problem.at.line, ", column ",
                       problem.at.column, ": ", problem.message),
          problem.at);
    }
    return result;
  }
  const std::string file = base::ResolvePath(config.path(), context_.file);
  const absl::StatusOr<std::string> content = base::ReadFile(file);
  context_.files.push_back({file, base::Fingerprint(content)});
  if (!content.ok()) {
    const std::string path_path = FieldPath(path, "path");
    Add(sources_.Find(path_path), path_path, ": ", content.status().message());
    return {};
  }
  Problems inner(file);
  GrpcServiceConfig result = ParseGrpcServiceConfig(*content, &inner);
  problems_.Append(inner);
  return result;
}

}  // namespace mesh::config
