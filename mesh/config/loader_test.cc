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
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
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
ServiceOptions OnlyService(const absl::StatusOr<MeshOptions>& options) {
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
  const absl::StatusOr<MeshOptions> options = LoadText(text, name);
  EXPECT_FALSE(options.ok()) << text;
  if (options.ok()) return "";
  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(options.status().message());
}

const cluster::EndpointSet& StaticSet(const ServiceOptions& service) {
  return *std::get<cluster::EndpointSetPtr>(service.source);
}

// --- Values ---

TEST(LoaderTest, FillsInEveryDefaultOfAServiceWithOnlyAnAddress) {
  const ServiceOptions cart = OnlyService(LoadText(R"(
services:
  cart:
    endpoints: ["10.0.0.1:80"]
)",
                                                   "mesh.yaml"));
  EXPECT_EQ(cart.name, "cart");
  EXPECT_EQ(cart.authority, "cart");
  EXPECT_EQ(cart.balancing, BalancingPolicy::kLeastRequest);
  EXPECT_EQ(cart.connections, ConnectionOptions());
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
    load_balancing: {policy: ROUND_ROBIN}
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
  const absl::StatusOr<MeshOptions> options =
      LoadText(kEverything, "mesh.yaml");
  const ServiceOptions cart = OnlyService(options);
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
  EXPECT_EQ(cart.balancing, BalancingPolicy::kRoundRobin);
  ConnectionOptions connections;
  connections.ahead = 0;
  connections.connect_timeout = absl::Milliseconds(1500);
  connections.initial_backoff = absl::Milliseconds(100);
  connections.max_backoff = absl::Minutes(1);
  connections.drain_timeout = absl::ZeroDuration();
  EXPECT_EQ(cart.connections, connections);
  EXPECT_EQ(cart.authority, "cart.prod");
  const std::map<std::string, ChannelArgument> args = {
      {"grpc.max_receive_message_length", -1},
      {"grpc.primary_user_agent", "shop"},
      {"grpc.enable_http_proxy", 0},
      {"grpc.keepalive_time_ms", 10000}};
  EXPECT_EQ(cart.channel_args, args);
  EXPECT_EQ(cart.retry_budget.ratio, 1);
  EXPECT_EQ(cart.retry_budget.min_per_second, 2.5);
  EXPECT_EQ(cart.policy.timeout, absl::Minutes(2));
  EXPECT_EQ(cart.policy.wait_for_ready, true);
  const RetryOptions& retry = cart.policy.retry;
  EXPECT_EQ(retry.max_attempts, 2);
  EXPECT_EQ(retry.codes, StatusCodeSet::Of(absl::StatusCode::kUnavailable)
                             .With(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(retry.initial_backoff, absl::Milliseconds(10));
  EXPECT_EQ(retry.max_backoff, absl::Milliseconds(500));
  EXPECT_EQ(retry.backoff_multiplier, 1.5);
  EXPECT_EQ(retry.attempt_timeout, absl::Seconds(1));
  EXPECT_EQ(options->telemetry.max_methods, 1);
  EXPECT_EQ(options->telemetry.max_endpoints, 100000);
}

TEST(LoaderTest, ReadsTheOtherSourcesOfEndpoints) {
  const ServiceOptions file = OnlyService(LoadText(
      "services: {a: {endpoints_file: {path: a/b.yaml, poll_interval: 5s}}}",
      "/etc/mesh/mesh.yaml"));
  const auto& options = std::get<EndpointsFileOptions>(file.source);
  EXPECT_EQ(options.path, "/etc/mesh/a/b.yaml");
  EXPECT_EQ(options.poll_interval, absl::Seconds(5));

  const ServiceOptions dns = OnlyService(LoadText(
      "services: {a: {dns: {name: cart.prod, port: 8080, min_refresh: 2s, "
      "max_refresh: 1h, servers: ['127.0.0.1:53', '[::1]:5353']}}}",
      "mesh.yaml"));
  const auto& name = std::get<DnsOptions>(dns.source);
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
  const ServiceOptions service =
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
  const ServiceOptions service = OnlyService(
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
  const ServiceOptions service = OnlyService(LoadText(
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
  const ServiceOptions& b = *options->services.at("b");
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
  const ServiceOptions options = OnlyService(FromProto(config));
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
  const ServiceOptions service = OnlyService(LoadText(R"(
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
  const MethodOptions& get = service.PolicyOf("/shop.Cart/Get");
  EXPECT_EQ(get.timeout, absl::Seconds(5)) << "of *";
  EXPECT_EQ(get.idempotent, true) << "of *";
  EXPECT_EQ(get.retry.max_attempts, 5) << "its own";
  EXPECT_EQ(get.retry.codes, StatusCodeSet::Of(absl::StatusCode::kInternal))
      << "of the service";
  EXPECT_EQ(get.wait_for_ready, true) << "of the gRPC service config";
  EXPECT_EQ(get.retry.backoff_multiplier, 3) << "of the gRPC service config";
  EXPECT_EQ(get.retry.max_backoff, absl::Milliseconds(50));
  EXPECT_EQ(get.retry.initial_backoff, absl::Milliseconds(50))
      << "never above the most, as in gRPC";

  const MethodOptions& add = service.PolicyOf("shop.Cart/Add");
  EXPECT_EQ(add.retry.max_attempts, 2);
  EXPECT_EQ(add.idempotent, true);
  EXPECT_EQ(add.retry.backoff_multiplier, 2) << "the default";

  const MethodOptions& pay = service.PolicyOf("/shop.Pay/Pay");
  EXPECT_EQ(pay.idempotent, false) << "the service's own word goes first";
  EXPECT_EQ(pay.timeout, absl::Seconds(10));
  EXPECT_EQ(service.PolicyOf("/shop.Pay/Refund").wait_for_ready, false)
      << "the nearest methodConfig, whole";
  EXPECT_EQ(&service.PolicyOf("/other.Service/Method"), &service.policy);
  EXPECT_EQ(&service.PolicyOf("nonsense"), &service.policy);
  EXPECT_EQ(&service.PolicyOf(""), &service.policy);
  EXPECT_EQ(service.policy.wait_for_ready, true);
}

TEST(LoaderTest, TakesTheMethodsWithARetryPolicyInAServiceConfigAsIdempotent) {
  const ServiceOptions service = OnlyService(LoadText(R"(
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
            StatusCodeSet::Of(absl::StatusCode::kUnavailable)
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
        BadText{"UnknownName", Service("load_balancing: {policy: round_robin}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "LEAST_REQUEST or ROUND_ROBIN, is the string \"round_robin\", "
                "did you mean \"ROUND_ROBIN\"?"},
        BadText{"NumberForAName", Service("load_balancing: {policy: 1}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "LEAST_REQUEST or ROUND_ROBIN, is 1"},
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
  const ServiceOptions service = OnlyService(LoadFile(path_, &files));
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
       "retryableStatusCodes": ["UNAVAILABL", 17, true]
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
          "must be a status code, is true",
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

TEST(SchemaTest, SaysTheDefaultsThatTheOptionsHave) {
  const ServiceOptions absent =
      OnlyService(LoadText("services: {a: {endpoints: []}}", "m"));
  const auto default_of = [](const char* name) {
    const auto* field =
        google::protobuf::DescriptorPool::generated_pool()->FindFieldByName(
            absl::StrCat("mesh.v1.", name));
    return field == nullptr
               ? std::string("no such field")
               : field->options().GetExtension(v1::rules).default_();
  };
  // Every default of the schema, written out.
  std::string text = "services: {a: {endpoints: [], ";
  for (const char* group :
       {"load_balancing: LoadBalancing", "connections: Connections",
        "retry_budget: RetryBudget", "policy: {retry: RetryPolicy}"}) {
    std::string written = group;
    const size_t colon = written.rfind(": ");
    const std::string type(absl::StripSuffix(written.substr(colon + 2), "}"));
    std::string fields;
    const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()
                                 ->FindMessageTypeByName("mesh.v1." + type);
    ASSERT_NE(descriptor, nullptr) << type;
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const std::string value =
          default_of((type + "." + descriptor->field(i)->name()).c_str());
      if (value.empty()) continue;
      absl::StrAppend(&fields, fields.empty() ? "" : ", ",
                      descriptor->field(i)->name(), ": ", value);
    }
    absl::StrAppend(&text,
                    absl::StrReplaceAll(written, {{type, "{" + fields + "}"}}),
                    ", ");
  }
  absl::StrAppend(&text, "}}");
  const ServiceOptions written = OnlyService(LoadText(text, "m"));
  EXPECT_EQ(written.balancing, absent.balancing) << text;
  EXPECT_EQ(written.connections, absent.connections) << text;
  EXPECT_EQ(written.retry_budget.ratio, absent.retry_budget.ratio);
  EXPECT_EQ(written.retry_budget.min_per_second,
            absent.retry_budget.min_per_second);
  const RetryOptions& a = absent.policy.retry;
  const RetryOptions& w = written.policy.retry;
  EXPECT_EQ(w.max_attempts, a.max_attempts);
  EXPECT_EQ(w.codes, a.codes);
  EXPECT_EQ(w.initial_backoff, a.initial_backoff);
  EXPECT_EQ(w.max_backoff, a.max_backoff);
  EXPECT_EQ(w.backoff_multiplier, a.backoff_multiplier);
  EXPECT_EQ(default_of("EndpointsFile.poll_interval"), "1s");
  EXPECT_EQ(EndpointsFileOptions().poll_interval, absl::Seconds(1));
  EXPECT_EQ(default_of("Dns.min_refresh"), "1s");
  EXPECT_EQ(DnsOptions().min_refresh, absl::Seconds(1));
  EXPECT_EQ(default_of("Dns.max_refresh"), "300s");
  EXPECT_EQ(DnsOptions().max_refresh, absl::Seconds(300));
  EXPECT_EQ(default_of("Telemetry.max_methods"),
            absl::StrCat(TelemetryOptions().max_methods));
  EXPECT_EQ(default_of("Telemetry.max_endpoints"),
            absl::StrCat(TelemetryOptions().max_endpoints));
  EXPECT_EQ(default_of("Endpoint.weight"),
            absl::StrCat(cluster::Endpoint().weight));
  EXPECT_EQ(default_of("Endpoint.priority"),
            absl::StrCat(cluster::Endpoint().priority));
}

}  // namespace
}  // namespace mesh::config
