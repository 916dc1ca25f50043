#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

void ForEachField(
    const google::protobuf::Descriptor* type,
    std::set<const google::protobuf::Descriptor*>* seen,
    const std::function<void(const google::protobuf::FieldDescriptor*)>&
        visit) {
  if (!seen->insert(type).second) return;
  for (int i = 0; i < type->field_count(); ++i) {
    visit(type->field(i));
    if (type->field(i)->message_type() != nullptr) {
      ForEachField(type->field(i)->message_type(), seen, visit);
    }
  }
}

TEST(SchemaTest, HasOnlyTypesThatTheReaderKnows) {
  using google::protobuf::FieldDescriptor;
  std::set<const google::protobuf::Descriptor*> seen = {
      google::protobuf::Duration::descriptor()};
  for (const auto* root :
       {v1::Config::descriptor(), v1::EndpointList::descriptor()}) {
    ForEachField(root, &seen, [](const FieldDescriptor* field) {
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_BOOL:
        case FieldDescriptor::CPPTYPE_DOUBLE:
        case FieldDescriptor::CPPTYPE_ENUM:
        case FieldDescriptor::CPPTYPE_INT32:
        case FieldDescriptor::CPPTYPE_UINT32:
        case FieldDescriptor::CPPTYPE_UINT64:
        case FieldDescriptor::CPPTYPE_STRING:
        case FieldDescriptor::CPPTYPE_MESSAGE:
          break;
        default:
          ADD_FAILURE() << field->full_name();
      }
      if (field->is_map()) return;
      if (field->is_repeated()) {
        EXPECT_TRUE(field->cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                    field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
            << field->full_name();
      }
    });
  }
}

// Everything that options say but the endpoints, one field a line.
class Dump {
 public:
  static std::string Of(const options::MeshOptions& options) {
    Dump dump;
    dump.Add("max_methods", options.telemetry.max_methods);
    dump.Add("max_endpoints", options.telemetry.max_endpoints);
    dump.Add("stream_retry_bytes", options.limits.stream_retry_bytes);
    for (const auto& [name, service] : options.services) {
      dump.AddService(*service);
    }
    return dump.text_;
  }

 private:
  static std::string Text(absl::Duration value) {
    return absl::FormatDuration(value);
  }
  static std::string Text(const std::string& value) { return value; }
  static std::string Text(options::Mode value) {
    return absl::StrCat("mode ", static_cast<int>(value));
  }
  static std::string Text(options::StatusCodeSet value) {
    std::string text;
    for (int code = 0; code <= 16; ++code) {
      if (value.Contains(static_cast<absl::StatusCode>(code))) {
        absl::StrAppend(&text, code, " ");
      }
    }
    return text;
  }
  template <typename T>
  static std::string Text(const std::optional<T>& value) {
    return value.has_value() ? Text(*value) : "none";
  }
  template <typename T>
  static std::enable_if_t<std::is_arithmetic_v<T>, std::string> Text(T value) {
    return absl::StrCat(value);
  }

  template <typename T>
  void Add(const char* name, const T& value) {
    absl::StrAppend(&text_, name, " ", Text(value), "\n");
  }

  void AddService(const options::ServiceOptions& service) {
    Add("balancing", static_cast<int>(service.balancing));
    const options::ConnectionOptions& c = service.connections;
    Add("ahead", c.ahead);
    Add("connect_timeout", c.connect_timeout);
    Add("initial_backoff", c.initial_backoff);
    Add("max_backoff", c.max_backoff);
    Add("drain_timeout", c.drain_timeout);
    Add("ratio", service.retry_budget.ratio);
    Add("min_per_second", service.retry_budget.min_per_second);
    AddPolicy(service.policy);
    const options::OutlierEjectionOptions& o = service.guards.outlier_ejection;
    Add("mode", o.mode);
    Add("interval", o.interval);
    Add("base_ejection_time", o.base_ejection_time);
    Add("max_ejection_time", o.max_ejection_time);
    Add("max_ejection_percent", o.max_ejection_percent);
    Add("panic_threshold_percent", o.panic_threshold_percent);
    Add("consecutive_failures", o.consecutive_failures);
    Add("consecutive_gateway_failures", o.consecutive_gateway_failures);
    Add("consecutive_local_failures", o.consecutive_local_failures);
    Add("enabled", o.success_rate.enabled);
    Add("stdev_factor", o.success_rate.stdev_factor);
    Add("minimum_hosts", o.success_rate.minimum_hosts);
    Add("request_volume", o.success_rate.request_volume);
    Add("enabled", o.failure_percentage.enabled);
    Add("threshold", o.failure_percentage.threshold);
    Add("minimum_hosts", o.failure_percentage.minimum_hosts);
    Add("request_volume", o.failure_percentage.request_volume);
    Add("enabled", o.latency.enabled);
    Add("factor", o.latency.factor);
    Add("min_difference", o.latency.min_difference);
    Add("minimum_hosts", o.latency.minimum_hosts);
    Add("request_volume", o.latency.request_volume);
    const options::BlackHoleOptions& h = service.guards.black_hole;
    Add("mode", h.mode);
    Add("min_silence", h.min_silence);
    Add("latency_factor", h.latency_factor);
    Add("probe_method", h.probe_method);
    Add("ramp", h.ramp);
    Add("keepalive_time", h.keepalive_time);
    Add("keepalive_timeout", h.keepalive_timeout);
    const options::CapsOptions& caps = service.guards.caps;
    Add("mode", caps.mode);
    Add("max_calls", caps.max_calls);
    Add("max_calls_per_endpoint", caps.max_calls_per_endpoint);
    Add("max_waiting", caps.max_waiting);
    Add("max_retries", caps.max_retries);
    Add("max_streams", caps.max_streams);
    const options::BreakerOptions& b = service.guards.breaker;
    Add("mode", b.mode);
    Add("failure_rate", b.failure_rate);
    Add("slow_call", b.slow_call);
    Add("slow_call_rate", b.slow_call_rate);
    Add("window", b.window);
    Add("min_calls", b.min_calls);
    Add("open_for", b.open_for);
    Add("probes", b.probes);
    const options::ThrottleOptions& t = service.guards.throttle;
    Add("mode", t.mode);
    Add("k", t.k);
    Add("window", t.window);
    Add("min_calls", t.min_calls);
    const options::AdaptiveConcurrencyOptions& a =
        service.guards.adaptive_concurrency;
    Add("mode", a.mode);
    Add("algorithm", static_cast<int>(a.algorithm));
    Add("initial_limit", a.initial_limit);
    Add("min_limit", a.min_limit);
    Add("max_limit", a.max_limit);
    Add("latency_factor", a.latency_factor);
    AddRateLimit(service.guards.rate_limit);
  }

  void AddPolicy(const options::MethodOptions& policy) {
    Add("timeout", policy.timeout);
    Add("idempotent", policy.idempotent);
    Add("wait_for_ready", policy.wait_for_ready);
    Add("idle_timeout", policy.idle_timeout);
    Add("max_attempts", policy.retry.max_attempts);
    Add("codes", policy.retry.codes);
    Add("initial_backoff", policy.retry.initial_backoff);
    Add("max_backoff", policy.retry.max_backoff);
    Add("backoff_multiplier", policy.retry.backoff_multiplier);
    Add("attempt_timeout", policy.retry.attempt_timeout);
    Add("stream_bytes", policy.retry.stream_bytes);
    Add("mode", policy.hedging.mode);
    Add("delay", policy.hedging.delay);
    Add("quantile", policy.hedging.quantile);
    Add("factor", policy.hedging.factor);
    Add("min_delay", policy.hedging.min_delay);
    Add("max_attempts", policy.hedging.max_attempts);
    AddRateLimit(policy.rate_limit);
    Add("mode", policy.fault.mode);
    Add("abort_share", policy.fault.abort_share);
    Add("abort_code", static_cast<int>(policy.fault.abort_code));
    Add("delay_share", policy.fault.delay_share);
    Add("delay", policy.fault.delay);
    Add("by_header", policy.fault.by_header);
  }

  void AddRateLimit(const options::RateLimitOptions& limit) {
    Add("mode", limit.mode);
    Add("per_second", limit.per_second);
    Add("burst", limit.burst);
  }

  std::string text_;
};

// A field of a group of the configuration.
struct SchemaField {
  std::string path;  // "services.a.caps.max_calls"
  const google::protobuf::FieldDescriptor* field;
  std::string default_text;  // Empty: none.

  // The configuration with only `value` for this field, and `beside` in front
  // of it.
  std::string With(const std::string& value,
                   const std::string& beside = "") const {
    std::string text = beside + field->name() + ": " + value;
    const std::vector<std::string> keys = absl::StrSplit(path, '.');
    for (size_t i = keys.size() - 1; i-- > 0;) {
      text = absl::StrCat(keys[i] == "a" ? "a: {endpoints: [], " : keys[i],
                          keys[i] == "a" ? "" : ": {", text, "}");
    }
    return text;
  }
};

// Every field whose meaning Dump writes, by walking the schema from the whole
// configuration down.
std::vector<SchemaField> FieldsOf(const google::protobuf::Descriptor* type,
                                  const std::string& path) {
  // What says where endpoints are and how to connect has tests of its own.
  static const std::set<std::string> kOthers = {
      "endpoints",    "endpoints_file", "dns",     "tls",
      "channel_args", "authority",      "methods", "grpc_service_config"};
  std::vector<SchemaField> fields;
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const std::string field_path =
        absl::StrCat(path, path.empty() ? "" : ".", field->name());
    if (kOthers.count(field->name()) > 0 && path == "services.a") continue;
    const auto* message =
        field->is_map() ? field->message_type()->map_value()->message_type()
                        : field->message_type();
    if (message != nullptr &&
        message != google::protobuf::Duration::descriptor()) {
      const auto inner =
          FieldsOf(message, field->is_map() ? field_path + ".a" : field_path);
      fields.insert(fields.end(), inner.begin(), inner.end());
    } else {
      fields.push_back({field_path, field,
                        field->options().GetExtension(v1::rules).default_()});
    }
  }
  return fields;
}

std::string DumpOf(const std::string& text) {
  const absl::StatusOr<options::MeshOptions> options = LoadText(text, "m");
  return options.ok() ? Dump::Of(*options)
                      : absl::StrCat(options.status().ToString(), "\n", text);
}

// What some fields can't do without.
std::string Beside(const std::string& path) {
  static const std::map<std::string, std::string> kBeside = {
      {"rate_limit.mode", "per_second: 5, "},
      {"rate_limit.burst", "per_second: 5, "},
      {"fault.mode", "abort_percent: 5, "},
      {"fault.abort_code", "abort_percent: 5, "},
      {"fault.delay", "delay_percent: 5, "},
      {"fault.delay_percent", "delay: 5s, "},
      {"breaker.slow_call_rate", "slow_call: 5s, "},
      {"black_hole.keepalive_timeout", "keepalive_time: 60s, "}};
  for (const auto& [suffix, beside] : kBeside) {
    if (absl::EndsWith(path, suffix)) return beside;
  }
  return "";
}

TEST(SchemaTest, SaysTheDefaultsThatTheOptionsHave) {
  // `absent` stands for each field's value where the field is left out.
  const std::vector<SchemaField> fields =
      FieldsOf(v1::Config::descriptor(), "");
  EXPECT_GT(fields.size(), 80u);
  for (const SchemaField& field : fields) {
    if (field.default_text.empty()) continue;
    const std::string beside = Beside(field.path);
    std::string absent;
    if (beside.empty()) {
      absent = absl::StartsWith(field.path, "services.")
                   ? "services: {a: {endpoints: []}}"
                   : "{}";
    } else {
      SchemaField other = field;
      const size_t colon = beside.find(": ");
      other.field = field.field->containing_type()->FindFieldByName(
          beside.substr(0, colon));
      const std::string value =
          beside.substr(colon + 2, beside.size() - colon - 4);
      // A delay without a percent that is not 0 would do nothing.
      absent = other.With(value);
      if (field.field->name() == "delay_percent") continue;
    }
    const std::string written = field.With(field.default_text, beside);
    EXPECT_EQ(DumpOf(written), DumpOf(absent)) << written;
  }
  const auto default_of = [](const char* name) {
    const auto* field =
        google::protobuf::DescriptorPool::generated_pool()->FindFieldByName(
            absl::StrCat("mesh.v1.", name));
    return field == nullptr
               ? std::string("no such field")
               : field->options().GetExtension(v1::rules).default_();
  };
  EXPECT_EQ(default_of("FaultInjection.delay_percent"), "0");
  EXPECT_EQ(options::FaultOptions().delay_share, 0);
  EXPECT_EQ(default_of("EndpointsFile.poll_interval"), "1s");
  EXPECT_EQ(options::EndpointsFileOptions().poll_interval, absl::Seconds(1));
  EXPECT_EQ(default_of("Dns.min_refresh"), "1s");
  EXPECT_EQ(options::DnsOptions().min_refresh, absl::Seconds(1));
  EXPECT_EQ(default_of("Dns.max_refresh"), "300s");
  EXPECT_EQ(options::DnsOptions().max_refresh, absl::Seconds(300));
  EXPECT_EQ(default_of("Endpoint.weight"),
            absl::StrCat(cluster::Endpoint().weight));
  EXPECT_EQ(default_of("Endpoint.priority"),
            absl::StrCat(cluster::Endpoint().priority));
}

TEST(SchemaTest, SaysADefaultWhereverTheOptionsHaveOne) {
  // Those for which being absent is a meaning of its own, which the comment
  // says.
  const std::set<std::string> without = {
      "services.a.policy.timeout",
      "services.a.policy.idempotent",
      "services.a.policy.wait_for_ready",
      "services.a.policy.idle_timeout",
      "services.a.policy.retry.attempt_timeout",
      "services.a.policy.hedging.delay",
      "services.a.policy.rate_limit.per_second",
      "services.a.policy.rate_limit.burst",
      "services.a.policy.fault.delay",
      "services.a.black_hole.keepalive_time",
      "services.a.breaker.slow_call",
      "services.a.rate_limit.per_second",
      "services.a.rate_limit.burst"};
  for (const SchemaField& field : FieldsOf(v1::Config::descriptor(), "")) {
    EXPECT_EQ(field.default_text.empty(), without.count(field.path) > 0)
        << field.path;
  }
}

TEST(SchemaTest, HasNoFieldThatTheOptionsDoNotLearnOf) {
  using google::protobuf::FieldDescriptor;
  for (const SchemaField& field : FieldsOf(v1::Config::descriptor(), "")) {
    // Values of which at least one is good and not the default, or two where
    // something stands beside it.
    std::vector<std::string> values;
    const v1::Rules& rules = field.field->options().GetExtension(v1::rules);
    switch (field.field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        values = {"true", "false"};
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        values = field.field->name() == "mode"
                     ? std::vector<std::string>{"off", "observe", "enforce"}
                     : std::vector<std::string>{"round_robin", "aimd"};
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        values = {"[INTERNAL]", "INTERNAL", "ABORTED", "/a.B/C"};
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        values = {absl::StrCat(rules.min(), "s"), "100ms", "12s", "200s"};
        break;
      default:
        values = {absl::StrCat(rules.min()), "0.5", "3", "20", "200"};
        break;
    }
    const std::string beside = Beside(field.path);
    std::set<std::string> meanings;
    for (const std::string& value : values) {
      const auto options = LoadText(field.With(value, beside), "m");
      if (options.ok()) meanings.insert(Dump::Of(*options));
    }
    meanings.insert(DumpOf(absl::StartsWith(field.path, "services.")
                               ? "services: {a: {endpoints: []}}"
                               : "{}"));
    // What stands beside it changes the meaning too.
    EXPECT_GE(meanings.size(), beside.empty() ? 2u : 3u)
        << field.With(values[0], beside);
  }
}

}  // namespace
}  // namespace mesh::config
