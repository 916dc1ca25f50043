// Which fields the configuration has, and what old names of fields give.

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/config/old_names.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

// ---- The fields that there are ----

void Collect(const google::protobuf::Descriptor* type,
             std::set<std::string>* names) {
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    if (!names->insert(absl::StrCat(type->name(), ".", field->name())).second) {
      return;  // It is known already.
    }
    const auto* message =
        field->is_map() ? field->message_type()->map_value()->message_type()
                        : field->message_type();
    if (message != nullptr &&
        message != google::protobuf::Duration::descriptor()) {
      Collect(message, names);
    }
  }
}

// The names that people write. A field more is a setting more that everybody
// has to read about: is there a user who would set it?
TEST(FieldsTest, AreTheseAndNotMore) {  // A table.
  const std::vector<std::string> known = {
      "AdaptiveConcurrency.latency_factor",
      "AdaptiveConcurrency.min_limit",
      "AdaptiveConcurrency.mode",
      "Breaker.failure_rate",
      "Breaker.mode",
      "Breaker.open_for",
      "Breaker.window",
      "Caps.max_calls",
      "Caps.max_calls_per_endpoint",
      "Caps.max_streams",
      "Caps.max_waiting",
      "Caps.mode",
      "ChannelArgument.boolean",
      "ChannelArgument.integer",
      "ChannelArgument.text",
      "Config.identity",
      "Config.limits",
      "Config.server",
      "Config.services",
      "Config.telemetry",
      "Connections.ahead",
      "Connections.connect_timeout",
      "Connections.drain_timeout",
      "Connections.initial_backoff",
      "Connections.keepalive_time",
      "Connections.keepalive_timeout",
      "Connections.max_backoff",
      "Dns.max_refresh",
      "Dns.min_refresh",
      "Dns.name",
      "Dns.port",
      "Dns.servers",
      "Endpoint.address",
      "Endpoint.authority",
      "Endpoint.locality",
      "Endpoint.metadata",
      "Endpoint.priority",
      "Endpoint.weight",
      "EndpointList.endpoints",
      "EndpointsFile.path",
      "FaultInjection.abort_code",
      "FaultInjection.abort_percent",
      "FaultInjection.by_header",
      "FaultInjection.delay",
      "FaultInjection.delay_percent",
      "FaultInjection.mode",
      "Guards.adaptive_concurrency",
      "Guards.breaker",
      "Guards.caps",
      "Guards.rate_limit",
      "Guards.throttle",
      "HeaderMatch.absent",
      "HeaderMatch.exact",
      "HeaderMatch.prefix",
      "HeaderMatch.present",
      "Hedging.delay",
      "Hedging.max_attempts",
      "Hedging.mode",
      "Identity.files",
      "Identity.hint",
      "Identity.id",
      "Identity.peer",
      "Identity.spiffe",
      "Identity.spread",
      "Identity.start_timeout",
      "IdentityFiles.bundles",
      "IdentityFiles.ca",
      "IdentityFiles.cert",
      "IdentityFiles.crl",
      "IdentityFiles.key",
      "LatencyEjection.factor",
      "LatencyEjection.min_difference",
      "LatencyEjection.min_duration",
      "Limits.stream_retry_bytes",
      "LoadBalancing.policy",
      "Locality.region",
      "Locality.sub_zone",
      "Locality.zone",
      "MethodPolicy.fault",
      "MethodPolicy.hedging",
      "MethodPolicy.idempotent",
      "MethodPolicy.idle_timeout",
      "MethodPolicy.rate_limit",
      "MethodPolicy.retry",
      "MethodPolicy.timeout",
      "MethodPolicy.wait_for_ready",
      "OutlierEjection.base_ejection_time",
      "OutlierEjection.consecutive_local_failures",
      "OutlierEjection.latency",
      "OutlierEjection.max_ejection_percent",
      "OutlierEjection.mode",
      "OutlierEjection.panic_threshold_percent",
      "OutlierEjection.ramp",
      "RateLimit.burst",
      "RateLimit.mode",
      "RateLimit.per_second",
      "RetryBudget.min_per_second",
      "RetryBudget.ratio",
      "RetryPolicy.attempt_timeout",
      "RetryPolicy.codes",
      "RetryPolicy.initial_backoff",
      "RetryPolicy.max_attempts",
      "RetryPolicy.max_backoff",
      "RetryPolicy.stream_bytes",
      "Rule.from",
      "Rule.headers",
      "Rule.methods",
      "Server.allow",
      "Server.crl",
      "Server.deny",
      "Server.mode",
      "Server.rules",
      "Service.authority",
      "Service.channel_args",
      "Service.connections",
      "Service.dns",
      "Service.endpoints",
      "Service.endpoints_file",
      "Service.grpc_service_config",
      "Service.guards",
      "Service.load_balancing",
      "Service.methods",
      "Service.outlier_ejection",
      "Service.policy",
      "Service.retry_budget",
      "Service.silence",
      "Service.tls",
      "ServiceConfig.json",
      "ServiceConfig.path",
      "Silence.latency_factor",
      "Silence.min_duration",
      "Silence.mode",
      "Silence.probe_method",
      "Telemetry.max_endpoints",
      "Telemetry.max_methods",
      "Telemetry.max_peers",
      "Throttle.mode",
      "Tls.ca_file",
      "Tls.cert_file",
      "Tls.crl",
      "Tls.key_file",
      "Tls.mode",
      "Tls.peer",
  };
  std::set<std::string> names;
  Collect(v1::Config::descriptor(), &names);
  Collect(v1::EndpointList::descriptor(), &names);
  EXPECT_THAT(names, testing::ElementsAreArray(known));
  EXPECT_LE(names.size(), 145u);
}

// ---- Those that there were ----

// A map of maps, from paths ("breaker.window").
class Tree {
 public:
  void Add(const std::string& path, const std::string& value) {
    Tree* tree = this;
    for (const absl::string_view key : absl::StrSplit(path, '.')) {
      tree = &tree->children_[std::string(key)];
    }
    tree->value_ = value;
  }
  // In flow style. JSON has its keys in quotes.
  std::string Text(bool json) const {
    if (children_.empty()) return value_;
    std::vector<std::string> parts;
    for (const auto& [key, tree] : children_) {
      parts.push_back(absl::StrCat(json ? "\"" : "", key, json ? "\"" : "",
                                   ": ", tree.Text(json)));
    }
    return absl::StrCat("{", absl::StrJoin(parts, ", "), "}");
  }

 private:
  std::map<std::string, Tree> children_;
  std::string value_;
};

// An old name and what is said of it, alone and beside the new one.
struct Old {
  const char* message;
  const char* path;
  const char* alone;
  const char* now = nullptr;  // The new path. Null: it is gone.
};

constexpr char kTrial[] =
    " no longer exists: remove it. A trial finds endpoints that fail, without "
    "any setting";
constexpr char kTrialSize[] =
    " no longer exists: remove it. A trial lasts until it has seen enough, "
    "without any setting";
constexpr char kDelay[] =
    " no longer exists: remove it. \"delay: adaptive\" is 1.25 times the 95th "
    "percentile of the latency, and at least 1ms; \"delay\" may be a duration, "
    "too";
constexpr char kSlowness[] =
    " no longer exists: remove it. guards.adaptive_concurrency and timeouts "
    "act on slowness";

const std::vector<Old>& AllOld() {
  static const auto* const all = new std::vector<Old>{
      {"Endpoint", "zone",
       " is an old name: write services.cart.endpoints[0].locality.zone "
       "instead",
       "locality.zone"},
      {"MethodPolicy", "hedging.factor", kDelay},
      {"MethodPolicy", "hedging.min_delay", kDelay},
      {"MethodPolicy", "hedging.quantile", kDelay},
      {"MethodPolicy", "retry.backoff_multiplier",
       " no longer exists: remove it. Each wait is twice as long as the one "
       "before"},
      {"Service", "adaptive_concurrency",
       " is an old name: write services.cart.guards.adaptive_concurrency "
       "instead",
       "guards.adaptive_concurrency"},
      {"Service", "adaptive_concurrency.algorithm",
       " no longer exists: remove it. The limit is always found as "
       "\"gradient\" "
       "found it"},
      {"Service", "adaptive_concurrency.initial_limit",
       " no longer exists: remove it. The limit begins with 100, or with "
       "min_limit where that is more"},
      {"Service", "adaptive_concurrency.max_limit",
       " no longer exists: remove it. The limit is at most 10000; "
       "guards.caps.max_calls bounds the calls below that"},
      {"Service", "black_hole",
       " is an old name: write services.cart.silence instead", "silence"},
      {"Service", "black_hole.keepalive_time",
       " is an old name: write services.cart.connections.keepalive_time "
       "instead",
       "connections.keepalive_time"},
      {"Service", "black_hole.keepalive_timeout",
       " is an old name: write services.cart.connections.keepalive_timeout "
       "instead",
       "connections.keepalive_timeout"},
      {"Service", "black_hole.min_silence",
       " is an old name: write services.cart.silence.min_duration instead",
       "silence.min_duration"},
      {"Service", "black_hole.ramp",
       " is an old name: write services.cart.outlier_ejection.ramp instead",
       "outlier_ejection.ramp"},
      {"Service", "breaker",
       " is an old name: write services.cart.guards.breaker instead",
       "guards.breaker"},
      {"Service", "breaker.min_calls",
       " no longer exists: remove it. The breaker opens when its window has at "
       "least 20 calls"},
      {"Service", "breaker.probes",
       " no longer exists: remove it. The breaker closes when 3 probes in a "
       "row went well"},
      {"Service", "breaker.slow_call", kSlowness},
      {"Service", "breaker.slow_call_rate", kSlowness},
      {"Service", "caps",
       " is an old name: write services.cart.guards.caps instead",
       "guards.caps"},
      {"Service", "caps.max_retries",
       " no longer exists: remove it. retry_budget bounds retries and hedges"},
      {"Service", "endpoints_file.poll_interval",
       " no longer exists: remove it. The file is looked at every second"},
      {"Service", "outlier_ejection.consecutive_failures", kTrial},
      {"Service", "outlier_ejection.consecutive_gateway_failures", kTrial},
      {"Service", "outlier_ejection.failure_percentage", kTrial},
      {"Service", "outlier_ejection.interval",
       " is an old name: write "
       "services.cart.outlier_ejection.latency.min_duration instead",
       "outlier_ejection.latency.min_duration"},
      {"Service", "outlier_ejection.latency.enabled",
       " no longer exists: remove it. \"factor: 0\" switches ejection for "
       "slowness off"},
      {"Service", "outlier_ejection.latency.minimum_hosts", kTrialSize},
      {"Service", "outlier_ejection.latency.request_volume", kTrialSize},
      {"Service", "outlier_ejection.max_ejection_time",
       " no longer exists: remove it. No ejection lasts longer than 10 times "
       "base_ejection_time"},
      {"Service", "outlier_ejection.success_rate", kTrial},
      {"Service", "rate_limit",
       " is an old name: write services.cart.guards.rate_limit instead",
       "guards.rate_limit"},
      {"Service", "throttle",
       " is an old name: write services.cart.guards.throttle instead",
       "guards.throttle"},
      {"Service", "throttle.k",
       " no longer exists: remove it. The throttle lets through twice what is "
       "accepted"},
      {"Service", "throttle.min_calls",
       " no longer exists: remove it. The throttle drops nothing before its "
       "window has 50 requests"},
      {"Service", "throttle.window",
       " no longer exists: remove it. The throttle's window is 30s"},
  };
  return *all;
}

TEST(OldNamesTest, AreAllHere) {
  std::vector<std::string> here, there;
  for (const Old& old : AllOld()) {
    here.push_back(absl::StrCat(old.message, " ", old.path));
  }
  for (const OldName& old : OldNames()) {
    there.push_back(absl::StrCat(old.message, " ", old.path));
  }
  EXPECT_EQ(here, there);
}

// The group in which an old name stood, where that has moved, too.
const Old* GroupOf(const Old& old) {
  for (const Old& group : AllOld()) {
    if (absl::StartsWith(old.path, absl::StrCat(group.path, "."))) {
      return &group;
    }
  }
  return nullptr;
}

// The values of new names that a test gives beside old ones.
std::string ValueOf(absl::string_view path) {
  if (path == "locality.zone") return "\"a\"";
  if (absl::EndsWith(path, "_time") || absl::EndsWith(path, "_timeout")) {
    return "\"60s\"";
  }
  if (absl::EndsWith(path, "ramp") || absl::EndsWith(path, "_duration")) {
    return "\"2s\"";
  }
  return "{}";
}

// The configuration with an old name in its place, and `beside` (in the same
// message), if that is not empty.
std::string TextWith(const Old& old, const std::string& path,
                     const std::string& beside, bool json) {
  Tree inner;
  inner.Add(path, old.now != nullptr && ValueOf(path) == "{}" ? "{}" : "1");
  if (!beside.empty()) inner.Add(beside, ValueOf(beside));
  if (beside == "connections.keepalive_timeout") {
    inner.Add("connections.keepalive_time", "\"60s\"");
  }
  Tree service;
  const std::string message = old.message;
  if (message == "Endpoint") {
    inner.Add("address", "\"1.2.3.4:5\"");
    service.Add("endpoints", absl::StrCat("[", inner.Text(json), "]"));
  } else {
    if (message == "MethodPolicy") {
      service.Add("policy", inner.Text(json));
    } else {
      service = inner;
    }
    if (absl::StartsWith(path, "endpoints_file")) {
      service.Add("endpoints_file.path", "\"a\"");
    } else {
      service.Add("endpoints", "[]");
    }
  }
  Tree root;
  root.Add("services.cart", service.Text(json));
  return root.Text(json);
}

// Where the last key of `path` stands in `text`: behind the one before, and in
// as many braces as its depth says.
std::string PlaceOf(const Old& old, const std::string& path,
                    const std::string& text, bool json) {
  int depth = std::string(old.message) == "Service" ? 3 : 4;
  size_t at = 0;
  for (const absl::string_view key : absl::StrSplit(path, '.')) {
    const std::string quote = json ? "\"" : "";
    const std::string written = absl::StrCat(quote, key, quote, ":");
    const auto braces = [&] {
      return std::count(text.begin(), text.begin() + at, '{') -
             std::count(text.begin(), text.begin() + at, '}');
    };
    do {
      at = text.find(written, at + 1);
    } while (at != std::string::npos && braces() != depth);
    ++depth;
  }
  return absl::StrCat(json ? "mesh.json" : "mesh.yaml", ":1:", at + 1, ": ");
}

std::string FullPath(const Old& old, const std::string& path) {
  const std::string message = old.message;
  return absl::StrCat(message == "Endpoint"  ? "services.cart.endpoints[0]."
                      : message == "Service" ? "services.cart."
                                             : "services.cart.policy.",
                      path);
}

void ExpectError(const Old& old, bool json, bool beside) {
  const std::string name = json ? "mesh.json" : "mesh.yaml";
  const std::string text = TextWith(old, old.path, beside ? old.now : "", json);
  std::string error =
      absl::StrCat(PlaceOf(old, old.path, text, json), FullPath(old, old.path));
  if (beside) {
    absl::StrAppend(&error, " is an old name: remove it. ",
                    FullPath(old, old.now),
                    " has taken its place and is written, too");
  } else {
    error += old.alone;
  }
  if (const Old* group = GroupOf(old)) {
    const bool group_beside =
        beside && absl::StartsWith(old.now, absl::StrCat(group->now, "."));
    error = absl::StrCat(
        PlaceOf(old, group->path, text, json), FullPath(*group, group->path),
        group_beside ? absl::StrCat(" is an old name: remove it. ",
                                    FullPath(*group, group->now),
                                    " has taken its place and is written, too")
                     : group->alone,
        ".\n", error);
  }
  EXPECT_EQ(ErrorOf(text, name), absl::StrCat(error, ".")) << text;
}

TEST(OldNamesTest, GiveAnErrorThatSaysWhatToWriteInYamlAndInJson) {
  for (const Old& old : AllOld()) {
    ExpectError(old, /*json=*/false, /*beside=*/false);
    ExpectError(old, /*json=*/true, /*beside=*/false);
  }
}

TEST(OldNamesTest, BesideTheirNewNameAreToBeRemoved) {
  for (const Old& old : AllOld()) {
    if (old.now == nullptr) continue;
    ExpectError(old, /*json=*/false, /*beside=*/true);
    ExpectError(old, /*json=*/true, /*beside=*/true);
  }
}

// Half of the way: the group has its new name, what is in it has not.
TEST(OldNamesTest, InTheirNewGroupAreKnownToo) {
  for (const Old& old : AllOld()) {
    const Old* const group = GroupOf(old);
    if (group == nullptr) continue;
    const std::string path = absl::StrCat(
        group->now, std::string(old.path).substr(strlen(group->path)));
    const std::string text = TextWith(old, path, "", /*json=*/false);
    EXPECT_EQ(ErrorOf(text),
              absl::StrCat(PlaceOf(old, path, text, /*json=*/false),
                           FullPath(old, path), old.alone, "."));
  }
}

TEST(OldNamesTest, OfAFileThatMixesThemWithNewOnesAreAllReportedAtOnce) {
  EXPECT_EQ(
      ErrorOf(R"(services:
  "shop cart":
    endpoints:
      - {address: 10.0.0.1:80, zone: a}
    silence: {mode: off, min_silence: 1s}
    black_hole:
      mode: enforce
      keepalive_time: 30s
    connections: {keepalive_timeout: 5s}
    guards:
      caps: {max_calls: 5, max_retries: 3}
    breaker: {failure_rate: 0.5, slow_call: 1s}
    methods:
      a.B/C:
        hedging: {mode: enforce, quantile: 0.9}
        rate_limit: {per_second: 5}
    polcy: {}
)"),
      R"(mesh.yaml:2:3: services["shop cart"]: a service's name must be at most 253 printable ASCII characters without spaces.
mesh.yaml:4:32: services["shop cart"].endpoints[0].zone is an old name: write services["shop cart"].endpoints[0].locality.zone instead.
mesh.yaml:5:26: services["shop cart"].silence.min_silence is an old name: write services["shop cart"].silence.min_duration instead.
mesh.yaml:6:5: services["shop cart"].black_hole is an old name: remove it. services["shop cart"].silence has taken its place and is written, too.
mesh.yaml:8:7: services["shop cart"].black_hole.keepalive_time is an old name: write services["shop cart"].connections.keepalive_time instead.
mesh.yaml:11:28: services["shop cart"].guards.caps.max_retries no longer exists: remove it. retry_budget bounds retries and hedges.
mesh.yaml:12:5: services["shop cart"].breaker is an old name: write services["shop cart"].guards.breaker instead.
mesh.yaml:12:34: services["shop cart"].breaker.slow_call no longer exists: remove it. guards.adaptive_concurrency and timeouts act on slowness.
mesh.yaml:15:34: services["shop cart"].methods["a.B/C"].hedging.quantile no longer exists: remove it. "delay: adaptive" is 1.25 times the 95th percentile of the latency, and at least 1ms; "delay" may be a duration, too.
mesh.yaml:17:5: services["shop cart"] has no field "polcy"; did you mean "policy"?)");
}

// What stood in a group that has moved or gone is told of with the group.
TEST(OldNamesTest, WhatStoodInAnOldGroupIsNoErrorOfItsOwn) {
  for (const char* field : {"enabled", "stdev_factor", "threshold",
                            "minimum_hosts", "request_volume"}) {
    for (const char* group : {"success_rate", "failure_percentage"}) {
      EXPECT_EQ(ErrorOf(absl::StrCat("services: {cart: {endpoints: [], "
                                     "outlier_ejection: {",
                                     group, ": {", field, ": 1}}}}")),
                absl::StrCat("mesh.yaml:1:53: services.cart.outlier_ejection.",
                             group, kTrial, "."));
    }
  }
  for (const char* field :
       {"mode: off", "latency_factor: 2", "probe_method: /a.B/C"}) {
    EXPECT_EQ(ErrorOf(absl::StrCat("services: {cart: {endpoints: [], "
                                   "black_hole: {",
                                   field, "}}}")),
              "mesh.yaml:1:34: services.cart.black_hole is an old name: write "
              "services.cart.silence instead.");
  }
}

TEST(OldNamesTest, AreKnownInAnEndpointsFile) {
  const auto set = ParseEndpoints("endpoints:\n- {address: 1.2.3.4:5, zone: a}",
                                  "list.yaml");
  EXPECT_EQ(MessageOf(set.status()),
            "list.yaml:2:24: endpoints[0].zone is an old name: write "
            "endpoints[0].locality.zone instead.");
}

}  // namespace
}  // namespace mesh::config
