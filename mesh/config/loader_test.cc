#include "mesh/config/loader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "gtest/gtest.h"
#include "mesh/v1/annotations.pb.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The only service of a configuration.
options::ServiceOptions OnlyService(
    const absl::StatusOr<options::MeshOptions>& options) {
  EXPECT_TRUE(options.ok()) << options.status();
  if (!options.ok() || options->services.size() != 1) {
    ADD_FAILURE() << "not one service";
    return {};
  }
  return *options->services.begin()->second;
}

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message());
}

std::string ErrorOf(absl::string_view text,
                    const std::string& name = "mesh.yaml") {
  const absl::StatusOr<options::MeshOptions> options = LoadText(text, name);
  EXPECT_FALSE(options.ok()) << text;
  if (options.ok()) return "";
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

const cluster::EndpointSet& StaticSet(const options::ServiceOptions& service) {
  return *std::get<cluster::EndpointSetPtr>(service.source);
}

// --- Values ---

TEST(LoaderTest, FillsInEveryDefaultOfAServiceWithOnlyAnAddress) {
  const options::ServiceOptions cart = OnlyService(LoadText(R"(
services:
  cart:
    endpoints: ["10.0.0.1:80"]
)",
                                                            "mesh.yaml"));
  EXPECT_EQ(cart.name, "cart");
  EXPECT_EQ(cart.authority, "cart");
  EXPECT_EQ(cart.balancing, options::BalancingPolicy::kLeastRequest);
  EXPECT_EQ(cart.connections, options::ConnectionOptions());
  EXPECT_FALSE(cart.tls.has_value());
  ASSERT_EQ(StaticSet(cart).endpoints.size(), 1u);
  cluster::Endpoint expected;
  expected.address = "10.0.0.1:80";
  EXPECT_EQ(StaticSet(cart).endpoints[0], expected);
  EXPECT_FALSE(cart.policy.idempotent.has_value());
  EXPECT_FALSE(cart.policy.wait_for_ready.has_value());
  EXPECT_EQ(cart.policy.timeout, absl::InfiniteDuration());
  EXPECT_EQ(cart.policy.retry.max_attempts, 3);
  EXPECT_FALSE(cart.AllIdempotent());
}

constexpr char kEverything[] = R"(
services:
  cart:
    endpoints:
      - 10.0.0.1:80
      - address: "[::1]:81"
        weight: 5
        zone: b
        priority: 2
        authority: other
        metadata: {version: "1.10", canary: "true"}
      - address: unix:/run/cart.sock
        locality: {region: eu, zone: eu-a, sub_zone: rack1}
    load_balancing: {policy: round_robin}
    connections:
      ahead: 0
      connect_timeout: 1.5s
      initial_backoff: 100ms
      max_backoff: 1m
      drain_timeout: 0s
    authority: cart.prod
    channel_args:
      grpc.max_receive_message_length: -1
      grpc.primary_user_agent: shop
      grpc.enable_http_proxy: false
      grpc.keepalive_time_ms: {integer: 10000}
    retry_budget: {ratio: 1, min_per_second: 2.5}
    policy:
      timeout: 2m
      wait_for_ready: true
      retry:
        max_attempts: 2
        codes: [UNAVAILABLE, RESOURCE_EXHAUSTED]
        initial_backoff: 10ms
        max_backoff: 500000us
        backoff_multiplier: 1.5
        attempt_timeout: 1s
telemetry: {max_methods: 1, max_endpoints: 100000}
)";

TEST(LoaderTest, ReadsEveryField) {
  const absl::StatusOr<options::MeshOptions> options =
      LoadText(kEverything, "mesh.yaml");
  const options::ServiceOptions cart = OnlyService(options);
  const auto& endpoints = StaticSet(cart).endpoints;
  ASSERT_EQ(endpoints.size(), 3u);
  EXPECT_EQ(endpoints[0].address, "10.0.0.1:80");
  EXPECT_EQ(endpoints[1].address, "[::1]:81");
  EXPECT_EQ(endpoints[1].weight, 5u);
  EXPECT_EQ(endpoints[1].locality, (cluster::Locality{"", "b", ""}));
  EXPECT_EQ(endpoints[1].priority, 2u);
  EXPECT_EQ(endpoints[1].authority, "other");
  EXPECT_THAT(endpoints[1].metadata,
              ElementsAre(testing::Pair("canary", "true"),
                          testing::Pair("version", "1.10")));
  EXPECT_EQ(endpoints[2].address, "unix:/run/cart.sock");
  EXPECT_EQ(endpoints[2].locality, (cluster::Locality{"eu", "eu-a", "rack1"}));
  EXPECT_EQ(cart.balancing, options::BalancingPolicy::kRoundRobin);
  options::ConnectionOptions connections;
  connections.ahead = 0;
  connections.connect_timeout = absl::Milliseconds(1500);
  connections.initial_backoff = absl::Milliseconds(100);
  connections.max_backoff = absl::Minutes(1);
  connections.drain_timeout = absl::ZeroDuration();
  EXPECT_EQ(cart.connections, connections);
  EXPECT_EQ(cart.authority, "cart.prod");
  const std::map<std::string, options::ChannelArgument> args = {
      {"grpc.max_receive_message_length", -1},
      {"grpc.primary_user_agent", "shop"},
      {"grpc.enable_http_proxy", 0},
      {"grpc.keepalive_time_ms", 10000}};
  EXPECT_EQ(cart.channel_args, args);
  EXPECT_EQ(cart.retry_budget.ratio, 1);
  EXPECT_EQ(cart.retry_budget.min_per_second, 2.5);
  EXPECT_EQ(cart.policy.timeout, absl::Minutes(2));
  EXPECT_EQ(cart.policy.wait_for_ready, true);
  const options::RetryOptions& retry = cart.policy.retry;
  EXPECT_EQ(retry.max_attempts, 2);
  EXPECT_EQ(retry.codes,
            options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
                .With(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(retry.initial_backoff, absl::Milliseconds(10));
  EXPECT_EQ(retry.max_backoff, absl::Milliseconds(500));
  EXPECT_EQ(retry.backoff_multiplier, 1.5);
  EXPECT_EQ(retry.attempt_timeout, absl::Seconds(1));
  EXPECT_EQ(options->telemetry.max_methods, 1);
  EXPECT_EQ(options->telemetry.max_endpoints, 100000);
}

TEST(LoaderTest, ReadsTheOtherSourcesOfEndpoints) {
  const options::ServiceOptions file = OnlyService(LoadText(
      "services: {a: {endpoints_file: {path: a/b.yaml, poll_interval: 5s}}}",
      "/etc/mesh/mesh.yaml"));
  const auto& options = std::get<options::EndpointsFileOptions>(file.source);
  EXPECT_EQ(options.path, "/etc/mesh/a/b.yaml");
  EXPECT_EQ(options.poll_interval, absl::Seconds(5));

  const options::ServiceOptions dns = OnlyService(LoadText(
      "services: {a: {dns: {name: cart.prod, port: 8080, min_refresh: 2s, "
      "max_refresh: 1h, servers: ['127.0.0.1:53', '[::1]:5353']}}}",
      "mesh.yaml"));
  const auto& name = std::get<options::DnsOptions>(dns.source);
  EXPECT_EQ(name.name, "cart.prod");
  EXPECT_EQ(name.port, 8080);
  EXPECT_EQ(name.min_refresh, absl::Seconds(2));
  EXPECT_EQ(name.max_refresh, absl::Hours(1));
  EXPECT_THAT(name.servers, ElementsAre("127.0.0.1:53", "[::1]:5353"));
  EXPECT_EQ(dns.authority, "cart.prod") << "the host of the name";
}

TEST(LoaderTest, TakesAnEmptyListForNoEndpoints) {
  EXPECT_TRUE(
      StaticSet(OnlyService(LoadText("services: {a: {endpoints: []}}", "m")))
          .endpoints.empty());
}

TEST(LoaderTest, TakesAGroupWithNothingInItForAnEmptyOne) {
  const options::ServiceOptions service =
      OnlyService(LoadText("services:\n"
                           "  cart:\n"
                           "    endpoints: ['10.0.0.1:80']\n"
                           "    authority:\n"
                           "    tls:\n"
                           "    # ca_file: ca.pem\n"
                           "    policy:\n"
                           "      timeout:\n",
                           "mesh.yaml"));
  EXPECT_TRUE(service.tls.has_value()) << "not plaintext by accident";
  EXPECT_EQ(service.authority, "cart");
  EXPECT_EQ(service.policy.timeout, absl::InfiniteDuration());
}

TEST(LoaderTest, TakesNoServicesForAConfiguration) {
  for (const char* text : {"{}", "services: {}", "services:"}) {
    const auto options = LoadText(text, "mesh.yaml");
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_TRUE(options->services.empty());
  }
}

TEST(LoaderTest, ReadsJsonWithItsEscapes) {
  const options::ServiceOptions service = OnlyService(
      LoadText("\xEF\xBB\xBF{\r\n\t\"services\": {\"a\": {\"endpoints\": [{"
               "\"address\": \"10.0.0.1:80\", \"metadata\": "
               "{\"x\": \"\\/\\u00e9\\uD83D\\uDE00\\t\\\"\"}}], \"authority\": "
               "null}}}\n",
               "mesh.json"));
  EXPECT_EQ(StaticSet(service).endpoints[0].metadata.at("x"),
            "/\xC3\xA9\xF0\x9F\x98\x80\t\"");
}

TEST(LoaderTest, ReadsJsonWhateverTheFileIsCalled) {
  // yaml-cpp takes neither surrogate pairs nor tabs between tokens.
  const options::ServiceOptions service = OnlyService(LoadText(
      "{\t\"services\":\t{\"a\": {\"endpoints\": [{\"address\": "
      "\"10.0.0.1:80\", \"metadata\": {\"x\": \"\\uD83D\\uDE00\"}}]}}}",
      "mesh.yaml"));
  EXPECT_EQ(StaticSet(service).endpoints[0].metadata.at("x"),
            "\xF0\x9F\x98\x80");
}

TEST(LoaderTest, MergesMapsOfYaml) {
  const auto options = LoadText(R"(
services:
  a: &a
    endpoints: ['10.0.0.1:80']
    policy: {timeout: 1s}
  b:
    <<: *a
    policy: {timeout: 2s}
  c:
    <<: [{authority: first}, {authority: second, endpoints: []}]
)",
                                "mesh.yaml");
  ASSERT_TRUE(options.ok()) << options.status();
  const options::ServiceOptions& b = *options->services.at("b");
  EXPECT_EQ(StaticSet(b).endpoints.size(), 1u);
  EXPECT_EQ(b.policy.timeout, absl::Seconds(2)) << "its own goes first";
  EXPECT_EQ(options->services.at("c")->authority, "first");
}

TEST(LoaderTest, ReadsAMessageAsItReadsAText) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["cart"];
  service.add_endpoints()->set_address("10.0.0.1:80");
  service.mutable_policy()->mutable_timeout()->set_seconds(2);
  (*service.mutable_channel_args())["x"].set_boolean(true);
  const options::ServiceOptions options = OnlyService(FromProto(config));
  EXPECT_EQ(options.policy.timeout, absl::Seconds(2));
  EXPECT_EQ(std::get<int>(options.channel_args.at("x")), 1);

  service.mutable_policy()->mutable_retry()->set_max_attempts(11);
  service.clear_endpoints();
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            "services.cart must have one of endpoints, endpoints_file and dns\n"
            "services.cart.policy.retry.max_attempts must be in 1..10, is 11");
}

// --- Precedence ---

TEST(LoaderTest, TakesEachFieldFromTheNarrowestPolicyThatHasIt) {
  const options::ServiceOptions service = OnlyService(LoadText(R"(
services:
  shop:
    endpoints: []
    policy:
      timeout: 10s
      idempotent: false
      retry: {max_attempts: 2, codes: [INTERNAL]}
    methods:
      shop.Cart/Get:
        retry: {max_attempts: 5}
      shop.Cart/*:
        idempotent: true
        timeout: 5s
    grpc_service_config:
      json: |
        {"methodConfig": [
          {"name": [{"service": "shop.Cart", "method": "Get"},
                    {"service": "shop.Pay", "method": "Pay"}],
           "timeout": "1s", "waitForReady": true,
           "retryPolicy": {"maxAttempts": 9, "initialBackoff": "0.1s",
             "maxBackoff": "0.05s", "backoffMultiplier": 3,
             "retryableStatusCodes": ["UNAVAILABLE", 4]}},
          {"name": [{"service": "shop.Pay"}], "waitForReady": false},
          {"name": [{}], "waitForReady": true}],
         "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
         "loadBalancingConfig": [{"round_robin": {}}], "unknown": 1}
)",
                                                               "mesh.yaml"));
  const options::MethodOptions& get = service.PolicyOf("/shop.Cart/Get");
  EXPECT_EQ(get.timeout, absl::Seconds(5)) << "of *";
  EXPECT_EQ(get.idempotent, true) << "of *";
  EXPECT_EQ(get.retry.max_attempts, 5) << "its own";
  EXPECT_EQ(get.retry.codes,
            options::StatusCodeSet::Of(absl::StatusCode::kInternal))
      << "of the service";
  EXPECT_EQ(get.wait_for_ready, true) << "of the gRPC service config";
  EXPECT_EQ(get.retry.backoff_multiplier, 3) << "of the gRPC service config";
  EXPECT_EQ(get.retry.max_backoff, absl::Milliseconds(50));
  EXPECT_EQ(get.retry.initial_backoff, absl::Milliseconds(50))
      << "never above the most, as in gRPC";

  const options::MethodOptions& add = service.PolicyOf("shop.Cart/Add");
  EXPECT_EQ(add.retry.max_attempts, 2);
  EXPECT_EQ(add.idempotent, true);
  EXPECT_EQ(add.retry.backoff_multiplier, 2) << "the default";

  const options::MethodOptions& pay = service.PolicyOf("/shop.Pay/Pay");
  EXPECT_EQ(pay.idempotent, false) << "the service's own word goes first";
  EXPECT_EQ(pay.timeout, absl::Seconds(10));
  EXPECT_EQ(service.PolicyOf("/shop.Pay/Refund").wait_for_ready, false)
      << "the nearest methodConfig, whole";
  EXPECT_EQ(&service.PolicyOf("/other.Service/Method"), &service.policy);
  EXPECT_EQ(&service.PolicyOf("nonsense"), &service.policy);
  EXPECT_EQ(&service.PolicyOf(""), &service.policy);
  EXPECT_EQ(service.policy.wait_for_ready, true);
}

TEST(LoaderTest, TakesEachFieldInsideOfAMethodsPoliciesFromTheNarrowest) {
  const options::ServiceOptions service = OnlyService(LoadText(R"(
services:
  shop:
    endpoints: []
    policy:
      retry: {stream_bytes: 1000}
      hedging: {mode: enforce, factor: 2, min_delay: 3ms}
      rate_limit: {per_second: 2.5}
      fault: {delay: 2s, abort_percent: 50, abort_code: ABORTED}
      idle_timeout: 1m
    methods:
      shop.Cart/*:
        hedging: {factor: 3, quantile: 0.9}
        rate_limit: {mode: observe}
        fault: {delay_percent: 1}
      shop.Cart/Get:
        retry: {stream_bytes: 0}
        hedging: {mode: off, max_attempts: 3, delay: 7ms}
        rate_limit: {per_second: 10, burst: 3}
        fault: {mode: observe, by_header: true, abort_percent: 0}
        idle_timeout: 1s
)",
                                                               "mesh.yaml"));
  const options::MethodOptions& get = service.PolicyOf("/shop.Cart/Get");
  EXPECT_EQ(get.retry.stream_bytes, 0u);
  EXPECT_EQ(get.hedging.mode, options::Mode::kOff);
  EXPECT_EQ(get.hedging.max_attempts, 3);
  EXPECT_EQ(get.hedging.delay, absl::Milliseconds(7));
  EXPECT_EQ(get.hedging.factor, 3) << "of *";
  EXPECT_EQ(get.hedging.quantile, 0.9) << "of *";
  EXPECT_EQ(get.hedging.min_delay, absl::Milliseconds(3)) << "of the service";
  EXPECT_EQ(get.rate_limit.mode, options::Mode::kObserve) << "of *";
  EXPECT_EQ(get.rate_limit.per_second, 10);
  EXPECT_EQ(get.rate_limit.burst, 3);
  EXPECT_EQ(get.fault.mode, options::Mode::kObserve);
  EXPECT_EQ(get.fault.abort_share, 0);
  EXPECT_EQ(get.fault.delay_share, 0.01) << "of *";
  EXPECT_EQ(get.fault.delay, absl::Seconds(2)) << "of the service";
  EXPECT_EQ(get.fault.abort_code, absl::StatusCode::kAborted)
      << "of the service";
  EXPECT_TRUE(get.fault.by_header);
  EXPECT_EQ(get.idle_timeout, absl::Seconds(1));

  const options::MethodOptions& add = service.PolicyOf("/shop.Cart/Add");
  EXPECT_EQ(add.retry.stream_bytes, 1000u);
  EXPECT_EQ(add.hedging.mode, options::Mode::kEnforce);
  EXPECT_EQ(add.hedging.factor, 3);
  EXPECT_EQ(add.rate_limit.mode, options::Mode::kObserve);
  EXPECT_EQ(add.rate_limit.per_second, 2.5);
  EXPECT_EQ(add.rate_limit.burst, 2.5) << "what a second allows";
  EXPECT_EQ(add.fault.mode, options::Mode::kEnforce);
  EXPECT_EQ(add.fault.abort_share, 0.5);
  EXPECT_FALSE(add.fault.by_header);
  EXPECT_EQ(add.idle_timeout, absl::Minutes(1));

  EXPECT_EQ(service.policy.hedging.factor, 2);
  EXPECT_EQ(service.policy.rate_limit.mode, options::Mode::kEnforce);
  EXPECT_EQ(service.policy.fault.delay_share, 0);
}

TEST(LoaderTest, ARateLimitHoldsAtLeastOneCall) {
  const options::ServiceOptions service = OnlyService(LoadText(
      "services: {a: {endpoints: [], rate_limit: {per_second: 0.1}}}", "m"));
  EXPECT_EQ(service.guards.rate_limit.mode, options::Mode::kEnforce);
  EXPECT_EQ(service.guards.rate_limit.burst, 1);
  EXPECT_EQ(service.policy.rate_limit.mode, options::Mode::kOff);
}

TEST(LoaderTest, ReadsTheHedgingPolicyOfAServiceConfig) {
  const options::ServiceOptions service = OnlyService(LoadText(R"(
services:
  shop:
    endpoints: []
    methods:
      shop.Pay/Pay: {idempotent: false}
    grpc_service_config:
      json: >
        {"methodConfig": [
          {"name": [{}], "hedgingPolicy": {"maxAttempts": 9,
            "hedgingDelay": "0.5s",
            "nonFatalStatusCodes": ["UNAVAILABLE", "INTERNAL"]}},
          {"name": [{"service": "shop.Cart"}],
            "hedgingPolicy": {"maxAttempts": 2}}]}
)",
                                                               "mesh.yaml"));
  EXPECT_EQ(service.policy.idempotent, true) << "its author asserted that";
  EXPECT_EQ(service.policy.hedging.mode, options::Mode::kEnforce);
  EXPECT_EQ(service.policy.hedging.max_attempts, 5) << "gRPC's own limit";
  EXPECT_EQ(service.policy.hedging.delay, absl::Milliseconds(500));
  EXPECT_EQ(service.policy.retry.max_attempts, 5);
  EXPECT_EQ(service.policy.retry.codes,
            options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
                .With(absl::StatusCode::kInternal));
  EXPECT_EQ(service.PolicyOf("/shop.Pay/Pay").idempotent, false);

  const options::MethodOptions& cart = service.PolicyOf("/shop.Cart/Get");
  EXPECT_EQ(cart.hedging.delay, absl::Microseconds(100)) << "the least";
  EXPECT_EQ(cart.hedging.max_attempts, 2);
  EXPECT_EQ(cart.retry.max_attempts, 1) << "every status is final";
}

TEST(LoaderTest, TakesTheMethodsWithARetryPolicyInAServiceConfigAsIdempotent) {
  const options::ServiceOptions service = OnlyService(LoadText(R"(
services:
  shop:
    endpoints: []
    grpc_service_config:
      json: >
        {"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 9,
        "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "DEADLINE_EXCEEDED"]}}]}
)",
                                                               "mesh.yaml"));
  EXPECT_EQ(service.policy.idempotent, true);
  EXPECT_EQ(service.policy.retry.max_attempts, 5) << "gRPC's own limit";
  EXPECT_EQ(service.policy.retry.codes,
            options::StatusCodeSet::Of(absl::StatusCode::kUnavailable)
                .With(absl::StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(service.AllIdempotent());
}

TEST(LoaderTest, KnowsWhetherEveryMethodIsIdempotent) {
  const auto all = [](absl::string_view policies) {
    return OnlyService(LoadText(absl::StrCat("services: {a: {endpoints: [], ",
                                             policies, "}}"),
                                "mesh.yaml"))
        .AllIdempotent();
  };
  EXPECT_TRUE(all("policy: {idempotent: true}"));
  EXPECT_TRUE(
      all("policy: {idempotent: true}, methods: {a.B/C: {timeout: 1s}}"));
  EXPECT_FALSE(
      all("policy: {idempotent: true}, methods: {a.B/C: {idempotent: false}}"));
  EXPECT_FALSE(all("methods: {a.B/*: {idempotent: true}}"));
}

// --- What is wrong ---

struct BadText {
  const char* name;
  std::string text;
  std::string error;
};

void PrintTo(const BadText& bad, std::ostream* os) { *os << bad.name; }

class BadTextTest : public testing::TestWithParam<BadText> {};

TEST_P(BadTextTest, IsReportedExactly) {
  EXPECT_EQ(ErrorOf(GetParam().text), GetParam().error);
}

// A service with an empty list of endpoints and `rest`, which begins at column
// 5 of line 4.
std::string Service(absl::string_view rest) {
  return absl::StrCat("services:\n  cart:\n    endpoints: []\n    ", rest,
                      "\n");
}

// A service whose endpoints are `list`, which begins at 3:16.
std::string Endpoints(absl::string_view list) {
  return absl::StrCat("services:\n  cart:\n    endpoints: ", list, "\n");
}

// A service with a retry policy `retry`, which begins at 4:22.
std::string Retry(absl::string_view retry) {
  return Service(absl::StrCat("policy: {retry: {", retry, "}}"));
}

INSTANTIATE_TEST_SUITE_P(
    Syntax, BadTextTest,
    testing::Values(
        BadText{"Empty", "", "mesh.yaml: is empty"},
        BadText{"OnlyComments", "# a\n\n# b\n", "mesh.yaml: is empty"},
        BadText{"Null", "~", "mesh.yaml: is empty"},
        BadText{"Scalar", "hello",
                "mesh.yaml:1:1: the top level must be a map, is the string "
                "\"hello\""},
        BadText{"List", "- a",
                "mesh.yaml:1:1: the top level must be a map, is a list"},
        BadText{"TwoDocuments", "services: {}\n---\nservices: {}\n",
                "mesh.yaml:2:1: more than one document"},
        BadText{"ControlCharacter", std::string("services: \0", 11),
                "mesh.yaml:1:11: control character 0x00: not a text file"},
        BadText{"NotUtf8", "services:\n  \xE9t\xE9: {}",
                "mesh.yaml:2:3: byte 0xE9 is not UTF-8 text"},
        BadText{"SurrogateInUtf8", "\xED\xA0\x80: 1",
                "mesh.yaml:1:1: byte 0xED is not UTF-8 text"},
        BadText{"Unfinished", "services: {cart: [\n",
                "mesh.yaml:2:1: end of sequence flow not found"},
        BadText{"UnfinishedString", "services: \"abc\n  def\n",
                "mesh.yaml:1:11: a quoted string that does not end"},
        BadText{"UnfinishedStringOfOtherQuotes", "a: 'abc''\n",
                "mesh.yaml:1:4: a quoted string that does not end"},
        BadText{"Tab", "services:\n\tcart: {endpoints: []}\n",
                "mesh.yaml:2:6: illegal map value; the line is indented with a "
                "tab, YAML takes only spaces"},
        BadText{"UnknownAlias", "services: *x",
                "mesh.yaml:1:11: the referenced anchor is not defined"},
        BadText{"AliasOfItself", "services: &a\n  x: *a\n",
                "mesh.yaml:2:6: an alias inside of what it stands for"},
        BadText{"MapAsAKey", "? {a: b}\n: c\n",
                "mesh.yaml:1:3: a key must be a string"},
        BadText{"UnknownTag", "services: !foo {}",
                "mesh.yaml:1:11: unknown tag \"!foo\""},
        BadText{"MergeOfAScalar", "services:\n  <<: 5\n",
                "mesh.yaml:2:7: the value of << must be a map or a list of "
                "maps"},
        BadText{"DeepNesting",
                [] {
                  std::string text;
                  for (int i = 0; i < 100; ++i) text += "- ";
                  return text + "x";
                }(),
                "mesh.yaml:1:129: nested more than 64 levels deep"},
        BadText{"BillionLaughs",
                [] {
                  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
                  for (int i = 1; i < 10; ++i) {
                    const std::string last = absl::StrCat("*a", i - 1);
                    absl::StrAppend(&text, "a", i, ": &a", i, " [");
                    for (int j = 0; j < 10; ++j) {
                      absl::StrAppend(&text, j > 0 ? "," : "", last);
                    }
                    text += "]\n";
                  }
                  return text;
                }(),
                "mesh.yaml:6:38: more than 1000000 values (aliases count each "
                "time)"},
        BadText{"UnquotedIPv6", Endpoints("[[::1]:80]"),
                "mesh.yaml:3:17: a key must be a string; an address such as "
                "\"[::1]:80\" needs quotes"}));

INSTANTIATE_TEST_SUITE_P(
    Json, BadTextTest,
    testing::Values(
        BadText{"NoValue", "{\"services\": }",
                "mesh.yaml:1:14: expected a value, found '}'"},
        BadText{"Unfinished", "{\"services\": {",
                "mesh.yaml:1:15: expected a key in quotes, found the end of "
                "the text"},
        BadText{"CommaAtTheEnd", "{\"services\": {},}",
                "mesh.yaml:1:17: expected a key in quotes, found '}'"},
        BadText{"TwoValues", "{\"services\": {}} {}",
                "mesh.yaml:1:18: expected the end, found '{'"},
        BadText{"HalfASurrogatePair", "{\"services\":\n \"\\uD83Dx\"}",
                "mesh.yaml:2:3: half of a surrogate pair in a string"},
        BadText{"UnknownEscape", "{\"services\": \"\\x\"}",
                "mesh.yaml:1:15: unknown escape in a string"},
        BadText{"NewlineInAString", "{\"services\": \"a\nb\"}",
                "mesh.yaml:1:14: a string that does not end on its line"},
        BadText{"LeadingZero", "{\"services\": 01}",
                "mesh.yaml:1:14: not a number as JSON writes it"},
        BadText{"DuplicateKey", "{\"services\": {},\n\"services\": {}}",
                "mesh.yaml:2:1: services is given twice, first at 1:2"},
        BadText{"Word", "{\"services\": nil}",
                "mesh.yaml:1:14: expected a value, found 'n'"}));

INSTANTIATE_TEST_SUITE_P(
    Fields, BadTextTest,
    testing::Values(
        BadText{"UnknownAtTheTop", "servces: {}",
                "mesh.yaml:1:1: unknown field \"servces\" at the "
                "top level, did you mean \"services\"?"},
        BadText{"UnknownDeep", Retry("max_atempts: 2"),
                "mesh.yaml:4:22: unknown field \"max_atempts\" in "
                "services.cart.policy.retry, did you mean \"max_attempts\"?"},
        BadText{"CamelCase", Retry("maxAttempts: 2"),
                "mesh.yaml:4:22: unknown field \"maxAttempts\" in "
                "services.cart.policy.retry, did you mean \"max_attempts\"?"},
        BadText{"UnlikeAny", Service("colour: red"),
                "mesh.yaml:4:5: unknown field \"colour\" in services.cart"},
        BadText{"DuplicateService",
                "services:\n  cart: {endpoints: []}\n  cart: {endpoints: []}\n",
                "mesh.yaml:3:3: services.cart is given twice, first at 2:3"},
        BadText{"DuplicateField", Service("authority: a\n    authority: b"),
                "mesh.yaml:5:5: services.cart.authority is given twice, first "
                "at 4:5"},
        BadText{"ScalarForAMap", "services:\n  cart: 5\n",
                "mesh.yaml:2:9: services.cart must be a map, is 5"},
        BadText{"ListForAMap", "services: []",
                "mesh.yaml:1:11: services must be a map, is a list"},
        BadText{"MapForAList", Endpoints("{}"),
                "mesh.yaml:3:16: services.cart.endpoints must be a list, is a "
                "map"},
        BadText{"NumberForAString", Service("authority: 1.5"),
                "mesh.yaml:4:16: services.cart.authority must be a string, is "
                "1.5; put it in quotes"},
        BadText{"ListForAString", Service("authority: [a]"),
                "mesh.yaml:4:16: services.cart.authority must be a string, is "
                "a list"},
        BadText{"StringForABool", Service("policy: {idempotent: yes}"),
                "mesh.yaml:4:26: services.cart.policy.idempotent must be true "
                "or false, is the string \"yes\""},
        BadText{"StringForAnInteger", Retry("max_attempts: '3'"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be an integer, is the string \"3\""},
        BadText{"FractionForAnInteger", Retry("max_attempts: 1.5"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be an integer, is 1.5"},
        BadText{"StringForANumber", Service("retry_budget: {ratio: half}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be a "
                "number, is the string \"half\""},
        BadText{"NotANumber", Service("retry_budget: {ratio: .nan}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be a "
                "finite number, is .nan"},
        BadText{"BareNumberForADuration", Service("policy: {timeout: 5}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, is 5; it needs a "
                "unit"},
        BadText{"UnknownUnit", Service("policy: {timeout: 5d}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, is the string \"5d\""},
        BadText{"NegativeDuration", Service("policy: {timeout: -5s}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, is the string "
                "\"-5s\""},
        BadText{"UnknownName", Service("load_balancing: {policy: round-robin}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, is the string \"round-robin\", "
                "did you mean \"round_robin\"?"},
        BadText{"NumberForAName", Service("load_balancing: {policy: 1}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, is 1"},
        BadText{"BooleanForAName", Service("load_balancing: {policy: false}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, is false"},
        BadText{"TrueForAMode", Service("caps: {mode: true}"),
                "mesh.yaml:4:18: services.cart.caps.mode must be off, observe "
                "or enforce, is true"},
        BadText{"UnknownMode", Service("caps: {mode: shadow}"),
                "mesh.yaml:4:18: services.cart.caps.mode must be off, observe "
                "or enforce, is the string \"shadow\""},
        BadText{"UnspecifiedMode", Service("caps: {mode: unspecified}"),
                "mesh.yaml:4:18: services.cart.caps.mode must be off, observe "
                "or enforce, is the string \"unspecified\""},
        BadText{"NameOfTheSchema", Service("caps: {mode: MODE_ENFORCE}"),
                "mesh.yaml:4:18: services.cart.caps.mode must be off, observe "
                "or enforce, is the string \"MODE_ENFORCE\", did you mean "
                "\"enforce\"?"},
        BadText{"NullElement", Endpoints("\n    -\n"),
                "mesh.yaml:4:5: services.cart.endpoints[0] must be an address "
                "or a map, is empty"},
        BadText{"NumberForAnEndpoint", Endpoints("[80]"),
                "mesh.yaml:3:17: services.cart.endpoints[0] must be an address "
                "or a map, is 80"},
        BadText{"FractionForAChannelArgument",
                Service("channel_args: {a: 1.5}"),
                "mesh.yaml:4:23: services.cart.channel_args.a must be an "
                "integer, a string, true or false, is 1.5"},
        BadText{"TwoValuesOfAChannelArgument",
                Service("channel_args: {a: {integer: 1, text: b}}"),
                "mesh.yaml:4:36: services.cart.channel_args.a must have only "
                "one of integer and text"},
        BadText{"NoValueOfAChannelArgument", Service("channel_args: {a: {}}"),
                "mesh.yaml:4:23: services.cart.channel_args.a has no value"}));

INSTANTIATE_TEST_SUITE_P(
    Ranges, BadTextTest,
    testing::Values(
        BadText{"TooSmall", Retry("max_attempts: 0"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, is 0"},
        BadText{"Negative", Retry("max_attempts: -1"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, is -1"},
        BadText{"Enormous", Retry("max_attempts: 99999999999999999999"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, is 99999999999999999999"},
        BadText{"BeyondAnInteger", Service("channel_args: {a: 2147483648}"),
                "mesh.yaml:4:23: services.cart.channel_args.a must be in "
                "-2147483648..2147483647, is 2147483648"},
        BadText{"Ratio", Service("retry_budget: {ratio: 1.01}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be in "
                "0..1, is 1.01"},
        BadText{"ShortDuration", Service("policy: {timeout: 999us}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, is 999us"},
        BadText{"LongDuration", Service("policy: {timeout: 25h}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, is 25h"},
        BadText{"EndlessDuration",
                Service("policy: {timeout: 99999999999999999999h}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, is the string "
                "\"99999999999999999999h\""},
        BadText{"BeyondALongInteger",
                "limits: {stream_retry_bytes: 18446744073709551616}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, is 18446744073709551616"},
        BadText{"MoreThanAnIntegerHolds",
                "limits: {stream_retry_bytes: 18446744073709551615}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, is 18446744073709551615"},
        BadText{"NegativeLongInteger", "limits: {stream_retry_bytes: -1}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, is -1"},
        BadText{"EjectionShareOfZero",
                Service("outlier_ejection: {max_ejection_percent: 0}"),
                "mesh.yaml:4:46: services.cart.outlier_ejection."
                "max_ejection_percent must be in 1..100, is 0"},
        BadText{"FailureRateOfZero", Service("breaker: {failure_rate: 0}"),
                "mesh.yaml:4:29: services.cart.breaker.failure_rate must be in "
                "0.01..1, is 0"},
        BadText{"FailureRateInPercent", Service("breaker: {failure_rate: 50}"),
                "mesh.yaml:4:29: services.cart.breaker.failure_rate must be in "
                "0.01..1, is 50"},
        BadText{"RateOfZero", Service("rate_limit: {per_second: 0}"),
                "mesh.yaml:4:30: services.cart.rate_limit.per_second must be "
                "in 0.001..1000000000, is 0"},
        BadText{"BurstOfZero", Service("rate_limit: {per_second: 1, burst: 0}"),
                "mesh.yaml:4:40: services.cart.rate_limit.burst must be in "
                "1..1000000000, is 0"},
        BadText{"PingsThatServersPunish",
                Service("black_hole: {keepalive_time: 1s}"),
                "mesh.yaml:4:34: services.cart.black_hole.keepalive_time must "
                "be in 10s..24h, is 1s"},
        BadText{"PortZero", "services: {a: {dns: {name: b, port: 0}}}",
                "mesh.yaml:1:37: services.a.dns.port must be in 1..65535, is "
                "0"},
        BadText{"PortTooLarge", "services: {a: {dns: {name: b, port: 65536}}}",
                "mesh.yaml:1:37: services.a.dns.port must be in 1..65535, is "
                "65536"},
        BadText{"Weight", Endpoints("[{address: '1.2.3.4:5', weight: 0}]"),
                "mesh.yaml:3:48: services.cart.endpoints[0].weight must be in "
                "1..1000000, is 0"},
        BadText{"Priority",
                Endpoints("[{address: '1.2.3.4:5', priority: 128}]"),
                "mesh.yaml:3:50: services.cart.endpoints[0].priority must be "
                "in 0..127, is 128"}));

INSTANTIATE_TEST_SUITE_P(
    Meaning, BadTextTest,
    testing::Values(
        BadText{"NoSource", "services:\n  cart: {authority: a}\n",
                "mesh.yaml:2:9: services.cart must have one of endpoints, "
                "endpoints_file and dns"},
        BadText{"EmptyService", "services:\n  cart:\n",
                "mesh.yaml:2:3: services.cart must have one of endpoints, "
                "endpoints_file and dns"},
        BadText{"EmptySource", "services:\n  cart:\n    dns:\n",
                "mesh.yaml:3:5: services.cart.dns.name is missing\n"
                "mesh.yaml:3:5: services.cart.dns.port is missing"},
        BadText{"NoEndpointsAtAll", "services:\n  cart:\n    endpoints:\n",
                "mesh.yaml:3:5: services.cart must have one of endpoints, "
                "endpoints_file and dns"},
        BadText{"EmptyMetadata",
                Endpoints("\n    - address: 1.2.3.4:5\n      metadata:\n"
                          "        a:\n"),
                "mesh.yaml:6:9: services.cart.endpoints[0].metadata.a must be "
                "a string, is empty"},
        BadText{"TwoSources", Service("dns: {name: a, port: 1}"),
                "mesh.yaml:4:10: services.cart must have only one of endpoints "
                "and dns"},
        BadText{"MissingPath", "services: {a: {endpoints_file: {}}}",
                "mesh.yaml:1:32: services.a.endpoints_file.path is missing"},
        BadText{"EmptyPath", "services: {a: {endpoints_file: {path: ''}}}",
                "mesh.yaml:1:39: services.a.endpoints_file.path must not be "
                "empty"},
        BadText{"MissingAddress", Endpoints("[{weight: 1}]"),
                "mesh.yaml:3:17: services.cart.endpoints[0].address is "
                "missing"},
        BadText{"MissingPort", "services: {a: {dns: {name: b}}}",
                "mesh.yaml:1:21: services.a.dns.port is missing"},
        BadText{"HostNameForAnAddress", Endpoints("[cart.prod:80]"),
                "mesh.yaml:3:17: services.cart.endpoints[0].address: "
                "\"cart.prod:80\" is a host name, not an IP address; use `dns` "
                "for a name"},
        BadText{"NoPort", Endpoints("[10.0.0.1]"),
                "mesh.yaml:3:17: services.cart.endpoints[0].address: "
                "\"10.0.0.1\" has no port; an address is \"IPv4:port\", "
                "\"[IPv6]:port\" or \"unix:/path\""},
        BadText{"SameAddressTwice",
                Endpoints("['[::1]:80', {address: '[0:0::1]:80'}]"),
                "mesh.yaml:3:39: services.cart.endpoints[1].address: "
                "\"[0:0::1]:80\" is the address of services.cart.endpoints[0] "
                "too"},
        BadText{"ZoneTwice",
                Endpoints("[{address: '1.2.3.4:5', zone: a, locality: {zone: "
                          "b}}]"),
                "mesh.yaml:3:46: services.cart.endpoints[0] must have only one "
                "of zone and locality.zone"},
        BadText{"EmptyServiceName", "services: {'': {endpoints: []}}",
                "mesh.yaml:1:16: services: a service's name must not be "
                "empty"},
        BadText{"SpaceInAServiceName", "services: {a b: {endpoints: []}}",
                "mesh.yaml:1:17: services[\"a b\"]: a service's name must be "
                "at most 253 printable ASCII characters without spaces"},
        BadText{"CertificateWithoutKey", Service("tls: {cert_file: /dev/null}"),
                "mesh.yaml:4:22: services.cart.tls has cert_file but no "
                "key_file\n"
                "mesh.yaml:4:22: services.cart.tls.cert_file: cannot read "
                "/dev/null: is not a regular file"},
        BadText{"MissingTlsFile", Service("tls: {ca_file: /no/such/file}"),
                "mesh.yaml:4:20: services.cart.tls.ca_file: cannot read "
                "/no/such/file: No such file or directory"},
        BadText{"MethodWithASlashInFront",
                Service("methods: {/a.B/C: {timeout: 1s}}"),
                "mesh.yaml:4:23: services.cart.methods: \"/a.B/C\" must begin "
                "without a slash"},
        BadText{"MethodWithoutAService", Service("methods: {C: {}}"),
                "mesh.yaml:4:18: services.cart.methods: \"C\" must be "
                "\"package.Service/Method\" or \"package.Service/*\""},
        BadText{"StarInside", Service("methods: {'a.*/C': {}}"),
                "mesh.yaml:4:24: services.cart.methods: \"a.*/C\" must be "
                "\"package.Service/Method\" or \"package.Service/*\""},
        BadText{"UnknownCode", Retry("codes: [UNAVAILIBLE]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the name of a gRPC status code, is \"UNAVAILIBLE\", did you "
                "mean \"UNAVAILABLE\"?"},
        BadText{"CodeOfSuccess", Retry("codes: [OK]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the code of a failure, is OK"},
        BadText{"NumberForACode", Retry("codes: [14]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be a "
                "string, is 14; put it in quotes"},
        BadText{"NoCodes", Retry("codes: []"),
                "mesh.yaml:4:29: services.cart.policy.retry.codes must not be "
                "empty; `max_attempts: 1` is no retry"},
        BadText{"MinAboveMax",
                "services: {a: {dns: {name: b, port: 1, min_refresh: 10s, "
                "max_refresh: 5s}}}",
                "mesh.yaml:1:53: services.a.dns.min_refresh must be at most "
                "max_refresh, 5s, is 10s"},
        BadText{"FirstBackoffAboveTheDefaultOfTheMost",
                Retry("initial_backoff: 5s"),
                "mesh.yaml:4:39: services.cart.policy.retry.initial_backoff "
                "must be at most max_backoff, 1s, is 5s"},
        BadText{"AttemptTimeoutOfAWiderPolicy",
                Service("policy: {retry: {attempt_timeout: 2s}}\n"
                        "    methods: {a.B/C: {timeout: 1s}}"),
                "mesh.yaml:4:39: services.cart.policy.retry.attempt_timeout "
                "must be less than the method's timeout of 1s, is 2s"},
        BadText{"TwoServiceConfigs",
                Service("grpc_service_config: {path: a, json: b}"),
                "mesh.yaml:4:26: services.cart.grpc_service_config must have "
                "one of path and json"},
        BadText{"ErrorInAServiceConfig",
                Service("grpc_service_config:\n      json: |\n"
                        "        {\"methodConfig\": [\n"
                        "          {\"timeout\": 5}]}"),
                "mesh.yaml:5:13: services.cart.grpc_service_config.json, line "
                "2, column 15: methodConfig[0].timeout must be a string, is "
                "5"}));

INSTANTIATE_TEST_SUITE_P(
    Contradiction, BadTextTest,
    testing::Values(
        BadText{"HedgeAfterTheTimeout",
                Service("policy: {timeout: 1s, hedging: {mode: enforce, delay: "
                        "1s}}"),
                "mesh.yaml:4:59: services.cart.policy.hedging.delay must be "
                "less than the method's timeout of 1s, is 1s"},
        BadText{"HedgeAfterTheTimeoutOfTheAttempt",
                Service("policy: {hedging: {mode: observe, delay: 1s}, retry: "
                        "{attempt_timeout: 300ms}}"),
                "mesh.yaml:4:46: services.cart.policy.hedging.delay must be "
                "less than the method's retry.attempt_timeout of 300ms, is "
                "1s"},
        BadText{"LeastHedgeDelayAfterTheTimeout",
                Service("policy: {hedging: {mode: enforce, min_delay: 2s}}\n"
                        "    methods: {a.B/*: {timeout: 1s}}\n"
                        "    grpc_service_config: {json: '{\"methodConfig\": "
                        "[{\"name\": [{}], \"timeout\": \"1.5s\"}]}'}"),
                "mesh.yaml:4:50: services.cart.policy.hedging.min_delay must "
                "be less than the method's timeout of 1.5s, is 2s"},
        BadText{"TwoKindsOfHedgeDelay",
                Service("policy: {hedging: {delay: 1s, quantile: 0.9, factor: "
                        "2, min_delay: 1ms}}"),
                "mesh.yaml:4:45: services.cart.policy.hedging.quantile is of "
                "an adaptive delay and has no place beside delay\n"
                "mesh.yaml:4:58: services.cart.policy.hedging.factor is of an "
                "adaptive delay and has no place beside delay\n"
                "mesh.yaml:4:72: services.cart.policy.hedging.min_delay is of "
                "an adaptive delay and has no place beside delay"},
        BadText{"HedgingOfWhatIsNotIdempotent",
                Service("policy: {idempotent: false, hedging: {mode: "
                        "enforce}}"),
                "mesh.yaml:4:49: services.cart.policy.hedging.mode must be off "
                "where idempotent is false: a hedge executes a call twice"},
        BadText{"HedgingOfWhatAWiderPolicySaysIsNotIdempotent",
                Service("policy: {idempotent: false}\n"
                        "    methods: {a.B/C: {hedging: {mode: enforce}}}"),
                "mesh.yaml:5:39: services.cart.methods[\"a.B/C\"].hedging.mode "
                "must be off where idempotent is false: a hedge executes a "
                "call twice"},
        BadText{"IdleTimeoutAboveTheTimeout",
                Service("policy: {timeout: 5s, idle_timeout: 5s}"),
                "mesh.yaml:4:41: services.cart.policy.idle_timeout must be "
                "less than the method's timeout of 5s, is 5s"},
        BadText{"EjectionTimes",
                Service("outlier_ejection: {base_ejection_time: 10m}"),
                "mesh.yaml:4:44: services.cart.outlier_ejection."
                "base_ejection_time must be at most max_ejection_time, 5m, is "
                "10m"},
        BadText{"EjectionThatPanicUndoes",
                Service("outlier_ejection: {max_ejection_percent: 60}"),
                "mesh.yaml:4:46: services.cart.outlier_ejection."
                "max_ejection_percent must be at most 100 - "
                "panic_threshold_percent, 50, is 60"},
        BadText{"PanicThatUndoesEjection",
                Service("outlier_ejection: {panic_threshold_percent: 80}"),
                "mesh.yaml:4:49: services.cart.outlier_ejection."
                "max_ejection_percent must be at most 100 - "
                "panic_threshold_percent, 20, is 30"},
        BadText{"ProbeMethodWithoutASlash",
                Service("black_hole: {probe_method: a.B/C}"),
                "mesh.yaml:4:32: services.cart.black_hole.probe_method must be "
                "\"/package.Service/Method\", is \"a.B/C\""},
        BadText{"ProbeOfAllMethods",
                Service("black_hole: {probe_method: /a.B/*}"),
                "mesh.yaml:4:32: services.cart.black_hole.probe_method must be "
                "\"/package.Service/Method\", is \"/a.B/*\""},
        BadText{"EmptyProbeMethod", Service("black_hole: {probe_method: ''}"),
                "mesh.yaml:4:32: services.cart.black_hole.probe_method must be "
                "\"/package.Service/Method\", is \"\""},
        BadText{"KeepaliveTimeoutWithoutKeepalive",
                Service("black_hole: {keepalive_timeout: 5s}"),
                "mesh.yaml:4:37: services.cart.black_hole.keepalive_timeout "
                "does nothing without keepalive_time"},
        BadText{"KeepaliveTwice",
                Service("black_hole: {keepalive_time: 60s}\n    "
                        "channel_args: {grpc.keepalive_time_ms: 60000}"),
                "mesh.yaml:4:34: services.cart must have only one of "
                "black_hole.keepalive_time and the channel argument "
                "grpc.keepalive_time_ms"},
        BadText{"EndpointCapAboveTheService",
                Service("caps: {max_calls: 10, max_calls_per_endpoint: 11}"),
                "mesh.yaml:4:51: services.cart.caps.max_calls_per_endpoint "
                "must be at most max_calls, 10, is 11"},
        BadText{"SlowCallRateWithoutSlowCall",
                Service("breaker: {slow_call_rate: 0.5}"),
                "mesh.yaml:4:31: services.cart.breaker.slow_call_rate does "
                "nothing without slow_call"},
        BadText{"ConcurrencyLimits",
                Service("adaptive_concurrency: {min_limit: 200, max_limit: "
                        "50}"),
                "mesh.yaml:4:39: services.cart.adaptive_concurrency.min_limit "
                "must be at most initial_limit, 100, is 200\n"
                "mesh.yaml:4:55: services.cart.adaptive_concurrency."
                "initial_limit must be at most max_limit, 50, is 100"},
        BadText{"RateLimitWithoutARate",
                Service("rate_limit: {burst: 5, mode: observe}"),
                "mesh.yaml:4:25: services.cart.rate_limit.burst does nothing "
                "without per_second\n"
                "mesh.yaml:4:34: services.cart.rate_limit.mode does nothing "
                "without per_second"},
        BadText{"RateLimitOfAMethodWithoutARate",
                Service("methods: {a.B/C: {rate_limit: {burst: 5}}}"),
                "mesh.yaml:4:43: services.cart.methods[\"a.B/C\"].rate_limit."
                "burst does nothing without per_second"},
        BadText{"BadRateIsOneProblem",
                Service("policy: {rate_limit: {per_second: x, burst: 5}}"),
                "mesh.yaml:4:39: services.cart.policy.rate_limit.per_second "
                "must be a number, is the string \"x\""},
        BadText{"AbortCodeWithoutPercent",
                Service("policy: {fault: {abort_code: INTERNAL}}"),
                "mesh.yaml:4:34: services.cart.policy.fault.abort_code does "
                "nothing without abort_percent"},
        BadText{"AbortWithSuccess",
                Service("policy: {fault: {abort_percent: 1, abort_code: OK}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must be "
                "the code of a failure, is OK"},
        BadText{"AbortWithAnUnknownCode",
                Service("policy: {fault: {abort_percent: 1, abort_code: "
                        "ABORT}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must be "
                "the name of a gRPC status code, is \"ABORT\", did you mean "
                "\"ABORTED\"?"},
        BadText{"EmptyAbortCode",
                Service("policy: {fault: {abort_percent: 1, abort_code: ''}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must "
                "not be empty"},
        BadText{"DelayWithoutPercent", Service("policy: {fault: {delay: 1s}}"),
                "mesh.yaml:4:29: services.cart.policy.fault.delay does nothing "
                "without delay_percent"},
        BadText{"PercentWithoutDelay",
                Service("policy: {fault: {delay_percent: 1}}"),
                "mesh.yaml:4:37: services.cart.policy.fault.delay_percent does "
                "nothing without delay"},
        BadText{"CancelledIsNotRetried", Retry("codes: [CANCELLED]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the code of a failure, is CANCELLED"},
        BadText{"RetryAndHedgingOfOneMethod",
                Service("grpc_service_config:\n      json: |\n"
                        "        {\"methodConfig\": [{\n"
                        "          \"timeout\": \"1s\",\n"
                        "          \"retryPolicy\": {\"maxAttempts\": 2, "
                        "\"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", "
                        "\"backoffMultiplier\": 1, \"retryableStatusCodes\": "
                        "[\"UNAVAILABLE\"]},\n"
                        "          \"hedgingPolicy\": {\"maxAttempts\": 1, "
                        "\"hedgingDelay\": \"1s\", \"nonFatalStatusCodes\": "
                        "[\"BAD\"]}}]}"),
                "mesh.yaml:5:13: services.cart.grpc_service_config.json, line "
                "4, column 20: methodConfig[0] must have only one of "
                "retryPolicy and hedgingPolicy\n"
                "mesh.yaml:5:13: services.cart.grpc_service_config.json, line "
                "4, column 36: methodConfig[0].hedgingPolicy.maxAttempts must "
                "be at least 2, is 1\n"
                "mesh.yaml:5:13: services.cart.grpc_service_config.json, line "
                "4, column 55: methodConfig[0].hedgingPolicy.hedgingDelay must "
                "be less than timeout, 1s, is 1s\n"
                "mesh.yaml:5:13: services.cart.grpc_service_config.json, line "
                "4, column 85: methodConfig[0].hedgingPolicy."
                "nonFatalStatusCodes[0] must be a status code, is the string "
                "\"BAD\""}));

TEST(LoaderTest, TakesWhatOnlyForSomeMethodsDoesNothing) {
  for (const char* rest : {
           "policy: {idle_timeout: 30s}, methods: {a.B/C: {timeout: 1s}}",
           "policy: {timeout: 1s, idle_timeout: 30s}, "
           "methods: {a.B/C: {timeout: 1h}}",
           "policy: {hedging: {mode: enforce, delay: 50ms}}, "
           "methods: {a.B/C: {timeout: 20ms}}",
           "policy: {hedging: {mode: enforce}}, "
           "methods: {a.B/C: {idempotent: false}}",
           "policy: {idempotent: false, hedging: {mode: enforce}}, "
           "methods: {a.B/C: {idempotent: true}}",
           "policy: {fault: {delay: 1s}}, "
           "methods: {a.B/C: {fault: {delay_percent: 10}}}",
           "policy: {fault: {abort_percent: 0, abort_code: INTERNAL}}",
           "policy: {fault: {delay_percent: 0}}",
           "policy: {timeout: 1s, hedging: {mode: off, delay: 2s}}",
           "policy: {rate_limit: {burst: 5}}, "
           "methods: {a.B/C: {rate_limit: {per_second: 10}}}",
           "outlier_ejection: {max_ejection_percent: 100, "
           "panic_threshold_percent: 0}",
           "caps: {max_calls: 0, max_calls_per_endpoint: 10}",
       }) {
    EXPECT_EQ(
        LoadText(absl::StrCat("services: {a: {endpoints: [], ", rest, "}}"),
                 "mesh.yaml")
            .status(),
        absl::OkStatus())
        << rest;
  }
}

TEST(LoaderTest, ReadsNamesInAnyCaseAndOffHoweverItIsWritten) {
  const auto mode = [](absl::string_view text, const std::string& name) {
    return OnlyService(LoadText(text, name)).guards.caps.mode;
  };
  const auto yaml = [&](absl::string_view value) {
    return mode(absl::StrCat("services: {a: {endpoints: [], caps: {mode: ",
                             value, "}}}"),
                "mesh.yaml");
  };
  // YAML 1.1, which many other tools follow, takes a plain `off` for false,
  // and writes that.
  for (const char* off : {"off", "Off", "OFF", "'off'", "\"off\"", "false"}) {
    EXPECT_EQ(yaml(off), options::Mode::kOff) << off;
  }
  for (const char* observe : {"observe", "Observe", "OBSERVE"}) {
    EXPECT_EQ(yaml(observe), options::Mode::kObserve) << observe;
  }
  EXPECT_EQ(yaml("enforce"), options::Mode::kEnforce);
  EXPECT_EQ(yaml(""), options::Mode::kEnforce) << "the default";
  for (const char* off : {"\"off\"", "false"}) {
    EXPECT_EQ(mode(absl::StrCat("{\"services\": {\"a\": {\"endpoints\": [], "
                                "\"caps\": {\"mode\": ",
                                off, "}}}}"),
                   "mesh.json"),
              options::Mode::kOff)
        << off;
  }
  EXPECT_EQ(
      OnlyService(LoadText("services: {a: {endpoints: [], load_balancing: "
                           "{policy: round_robin}}}",
                           "m"))
          .balancing,
      options::BalancingPolicy::kRoundRobin);
}

TEST(LoaderTest, RefusesContradictionsInAMessage) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["cart"];
  service.add_endpoints()->set_address("10.0.0.1:80");
  v1::MethodPolicy& policy = *service.mutable_policy();
  policy.mutable_timeout()->set_seconds(1);
  policy.set_idempotent(false);
  policy.mutable_hedging()->set_mode(v1::MODE_ENFORCE);
  policy.mutable_hedging()->mutable_delay()->set_seconds(2);
  service.mutable_black_hole()->mutable_keepalive_time()->set_seconds(60);
  (*service.mutable_channel_args())["grpc.keepalive_time_ms"].set_integer(1);
  service.mutable_adaptive_concurrency()->set_min_limit(101);
  service.mutable_outlier_ejection()->set_panic_threshold_percent(90);
  EXPECT_EQ(
      MessageOf(FromProto(config).status()),
      "services.cart must have only one of black_hole.keepalive_time and the "
      "channel argument grpc.keepalive_time_ms\n"
      "services.cart.adaptive_concurrency.min_limit must be at most "
      "initial_limit, 100, is 101\n"
      "services.cart.outlier_ejection.max_ejection_percent must be at most 100 "
      "- panic_threshold_percent, 10, is 30\n"
      "services.cart.policy.hedging.delay must be less than the method's "
      "timeout of 1s, is 2s\n"
      "services.cart.policy.hedging.mode must be off where idempotent is "
      "false: a hedge executes a call twice");
}

TEST(LoaderTest, RefusesNumbersThatAreNoNamesInAMessage) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["cart"];
  service.add_endpoints()->set_address("10.0.0.1:80");
  service.mutable_caps()->set_mode(static_cast<v1::Mode>(7));
  service.mutable_load_balancing()->set_policy(
      static_cast<v1::LoadBalancing::Policy>(9));
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            "services.cart.caps.mode must be off, observe or enforce, is 7\n"
            "services.cart.load_balancing.policy must be least_request or "
            "round_robin, is 9");
}

TEST(LoaderTest, ReportsEverythingAtOnceInOrderOfPosition) {
  EXPECT_EQ(ErrorOf(R"(services:
  cart:
    endpoints: [cart:80, 10.0.0.1:0]
    polcy: {}
    policy:
      timeout: 0s
      retry: {max_attempts: 100}
telemetry: {max_methods: lots}
)"),
            "mesh.yaml:3:17: services.cart.endpoints[0].address: \"cart:80\" "
            "is a host name, not an IP address; use `dns` for a name\n"
            "mesh.yaml:3:26: services.cart.endpoints[1].address: "
            "\"10.0.0.1:0\" must have a port in 1..65535\n"
            "mesh.yaml:4:5: unknown field \"polcy\" in services.cart, did you "
            "mean \"policy\"?\n"
            "mesh.yaml:6:16: services.cart.policy.timeout must be in 1ms..24h, "
            "is 0s\n"
            "mesh.yaml:7:29: services.cart.policy.retry.max_attempts must be "
            "in 1..10, is 100\n"
            "mesh.yaml:8:26: telemetry.max_methods must be an integer, is the "
            "string \"lots\"");
}

TEST(LoaderTest, RefusesHostileTexts) {
  // yaml-cpp alone takes gigabytes for some of these.
  for (const char* unit : {"{", "[", "[],", "a: b, ", "- ", "? ", "&a "}) {
    std::string text = *unit == 'a' ? "{" : "";
    while (text.size() < (2 << 20)) text += unit;
    EXPECT_FALSE(LoadText(text, "mesh.yaml").ok()) << unit;
  }
}

TEST(LoaderTest, CountsTheProblemsBeyondAThousand) {
  std::string text;
  for (int i = 0; i < 1234; ++i) absl::StrAppend(&text, "x", i, ": 1\n");
  const std::string error = ErrorOf(text);
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1000);
  EXPECT_TRUE(absl::EndsWith(error, "\nand 234 more")) << error;
}

// --- Files ---

class LoaderFileTest : public testing::Test {
 protected:
  LoaderFileTest() {
    dir_ = testing::TempDir() + "/loader_XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/mesh.yaml";
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name) << text;
  }

  std::string dir_;
  std::string path_;
};

TEST_F(LoaderFileTest, SaysThatAFileIsMissing) {
  const absl::Status status = LoadFile(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            absl::StrCat("cannot read ", path_, ": No such file or directory"));
}

TEST_F(LoaderFileTest, SaysThatAFileIsADirectory) {
  EXPECT_EQ(LoadFile(dir_).status().message(),
            absl::StrCat("cannot read ", dir_, ": is a directory"));
}

TEST_F(LoaderFileTest, DoesNotWaitForTheWriterOfAPipe) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(LoadFile(path_).status().message(),
            absl::StrCat("cannot read ", path_, ": is not a regular file"));
}

TEST_F(LoaderFileTest, SaysThatAFileMayNotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  Write("mesh.yaml", "services: {}");
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  EXPECT_EQ(LoadFile(path_).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(LoaderFileTest, RefusesAFileOfMoreThan16MiB) {
  Write("mesh.yaml", std::string((16 << 20) + 1, '#'));
  EXPECT_EQ(LoadFile(path_).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(LoadFile(path_).status().message(),
            absl::StrCat("cannot read ", path_, ": more than 16777216 bytes"));
  Write("mesh.yaml", "services: {}\n#" + std::string((16 << 20) - 14, '#'));
  EXPECT_TRUE(LoadFile(path_).ok());
}

TEST_F(LoaderFileTest, RefusesALoopOfLinks) {
  ASSERT_EQ(symlink(path_.c_str(), path_.c_str()), 0);
  EXPECT_EQ(LoadFile(path_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoaderFileTest, ReadsFilesRelativeToTheOneThatNamesThem) {
  Write("service.json", R"({"methodConfig": [
    {"name": [{}], "timeout": "2.5s"}]})");
  Write("ca.pem", "");
  Write("mesh.yaml", R"(
services:
  cart:
    endpoints: []
    tls: {ca_file: ca.pem}
    grpc_service_config: {path: service.json}
)");
  std::vector<FileState> files;
  const options::ServiceOptions service = OnlyService(LoadFile(path_, &files));
  EXPECT_EQ(service.tls->ca_file, dir_ + "/ca.pem");
  EXPECT_EQ(service.policy.timeout, absl::Milliseconds(2500));
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].path, path_);
  EXPECT_EQ(files[1].path, dir_ + "/ca.pem");
  EXPECT_EQ(files[2].path, dir_ + "/service.json");
}

TEST_F(LoaderFileTest, ReportsWhatIsWrongInAServiceConfigWithItsOwnPlaces) {
  Write("service.json", R"({
  "methodConfig": [
    {"name": [{"method": "C"}, 5, {"service": "a.B"}, {"service": "a.B"}],
     "timeout": "5m",
     "waitForReady": 1,
     "retryPolicy": {
       "maxAttempts": 1,
       "initialBackoff": "0s",
       "maxBackoff": 1,
       "retryableStatusCodes": ["UNAVAILABL", 17, true, "OK", 1]
     }}]
})");
  Write("mesh.yaml",
        "services: {cart: {grpc_service_config: {path: service.json}}}");
  const std::string json = dir_ + "/service.json";
  EXPECT_EQ(
      LoadFile(path_).status().message(),
      absl::StrReplaceAll(
          "MESH:1:18: services.cart must have one of endpoints, endpoints_file "
          "and dns\n"
          "JSON:3:15: methodConfig[0].name[0] has a method but no service\n"
          "JSON:3:32: methodConfig[0].name[1] must be a map, is 5\n"
          "JSON:3:55: methodConfig[0].name[3] is a name that another "
          "methodConfig has\n"
          "JSON:4:17: methodConfig[0].timeout must be seconds such as "
          "\"1.5s\", is the string \"5m\"\n"
          "JSON:5:22: methodConfig[0].waitForReady must be true or false, is "
          "1\n"
          "JSON:6:21: methodConfig[0].retryPolicy.backoffMultiplier is "
          "missing\n"
          "JSON:7:23: methodConfig[0].retryPolicy.maxAttempts must be at least "
          "2, is 1\n"
          "JSON:8:26: methodConfig[0].retryPolicy.initialBackoff must be more "
          "than 0s, is 0s\n"
          "JSON:9:22: methodConfig[0].retryPolicy.maxBackoff must be a string, "
          "is 1\n"
          "JSON:10:33: methodConfig[0].retryPolicy.retryableStatusCodes[0] "
          "must be a status code, is the string \"UNAVAILABL\", did you mean "
          "\"UNAVAILABLE\"?\n"
          "JSON:10:47: methodConfig[0].retryPolicy.retryableStatusCodes[1] "
          "must be a status code, is 17\n"
          "JSON:10:51: methodConfig[0].retryPolicy.retryableStatusCodes[2] "
          "must be a status code, is true\n"
          "JSON:10:57: methodConfig[0].retryPolicy.retryableStatusCodes[3] "
          "must be the code of a failure, is OK\n"
          "JSON:10:63: methodConfig[0].retryPolicy.retryableStatusCodes[4] "
          "must be the code of a failure, is CANCELLED",
          {{"MESH", path_}, {"JSON", json}}));
}

// --- Endpoints files ---

TEST(ParseEndpointsTest, ReadsYamlAndJson) {
  for (const char* text :
       {"endpoints:\n- 10.0.0.1:80\n- {address: 10.0.0.2:80, weight: 3}\n",
        R"({"endpoints": ["10.0.0.1:80",
            {"address": "10.0.0.2:80", "weight": 3}]})"}) {
    const auto set = ParseEndpoints(text, "endpoints.yaml");
    ASSERT_TRUE(set.ok()) << set.status();
    ASSERT_EQ((*set)->endpoints.size(), 2u);
    EXPECT_EQ((*set)->endpoints[0].address, "10.0.0.1:80");
    EXPECT_EQ((*set)->endpoints[1].weight, 3u);
  }
}

TEST(ParseEndpointsTest, TellsAnEmptyListFromAMissingOne) {
  const auto set = ParseEndpoints("endpoints: []", "e.yaml");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_TRUE((*set)->endpoints.empty());
  EXPECT_EQ(ParseEndpoints("endpoints:", "e.yaml").status().message(),
            "e.yaml:1:1: endpoints is missing");
  EXPECT_EQ(ParseEndpoints("{}", "e.yaml").status().message(),
            "e.yaml:1:1: endpoints is missing");
  EXPECT_EQ(ParseEndpoints("", "e.yaml").status().message(),
            "e.yaml: is empty");
}

TEST(ParseEndpointsTest, ReportsEverythingWithItsPosition) {
  EXPECT_EQ(
      MessageOf(ParseEndpoints("endpoints:\n"
                               "- 10.0.0.1\n"
                               "- {address: 10.0.0.1:80, wieght: 1}\n"
                               "- {address: 10.0.0.1:80, weight: 0}\n",
                               "e.yaml")
                    .status()),
      "e.yaml:2:3: endpoints[0].address: \"10.0.0.1\" has no port; an address "
      "is \"IPv4:port\", \"[IPv6]:port\" or \"unix:/path\"\n"
      "e.yaml:3:26: unknown field \"wieght\" in endpoints[1], did you mean "
      "\"weight\"?\n"
      "e.yaml:4:13: endpoints[2].address: \"10.0.0.1:80\" is the address of "
      "endpoints[1] too\n"
      "e.yaml:4:34: endpoints[2].weight must be in 1..1000000, is 0");
}

// --- Addresses ---

TEST(AddressTest, TakesLiteralAddressesWithAPort) {
  for (const char* good :
       {"10.0.0.1:80", "127.0.0.1:1", "255.255.255.255:65535", "[::1]:80",
        "[2001:db8::1]:443", "[::ffff:10.0.0.1]:80", "unix:/run/a.sock"}) {
    EXPECT_TRUE(ValidateAddress(good).ok()) << good;
  }
}

TEST(AddressTest, RefusesAllElse) {
  for (const char* bad : {"",
                          ":",
                          ":80",
                          "10.0.0.1",
                          "10.0.0.1:",
                          "10.0.0.1:0",
                          "10.0.0.1:00080",
                          "10.0.0.1:65536",
                          "10.0.0.1:99999999999",
                          "10.0.0.1:-1",
                          "10.0.0.1:+1",
                          "10.0.0.1:8o",
                          "10.0.0:80",
                          "10.0.0.256:80",
                          "::1",
                          "[::1]",
                          "[::1]:",
                          "::1:80",
                          "[]:80",
                          "[10.0.0.1]:80",
                          "[::1%eth0]:80",
                          "cart:80",
                          "cart.prod:80",
                          "10.0.0.1:80 ",
                          " 10.0.0.1:80",
                          "10.0.0.1:80\n",
                          "unix:",
                          "unix:/",
                          "unix:relative",
                          "dns:///a:80",
                          "ipv4:10.0.0.1:80",
                          "http://10.0.0.1:80"}) {
    EXPECT_FALSE(ValidateAddress(bad).ok()) << bad;
  }
  EXPECT_FALSE(ValidateAddress("unix:/" + std::string(107, 'a')).ok());
  EXPECT_TRUE(ValidateAddress("unix:/" + std::string(106, 'a')).ok());
  EXPECT_FALSE(ValidateAddress(absl::string_view("10.0.0.1\0:80", 12)).ok());
  EXPECT_THAT(std::string(ValidateAddress("2001:db8::1:80").message()),
              HasSubstr("has no port"));
}

// --- The schema itself ---

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
