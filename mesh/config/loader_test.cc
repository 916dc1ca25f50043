#include "mesh/config/loader.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

using testing::ElementsAre;

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
        locality: {zone: b}
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
  EXPECT_EQ(endpoints[1].locality(), (cluster::Locality{"", "b", ""}));
  EXPECT_EQ(endpoints[1].priority, 2u);
  EXPECT_EQ(endpoints[1].authority(), "other");
  EXPECT_THAT(endpoints[1].metadata(),
              ElementsAre(testing::Pair("canary", "true"),
                          testing::Pair("version", "1.10")));
  EXPECT_EQ(endpoints[2].address, "unix:/run/cart.sock");
  EXPECT_EQ(endpoints[2].locality(),
            (cluster::Locality{"eu", "eu-a", "rack1"}));
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
  EXPECT_EQ(retry.attempt_timeout, absl::Seconds(1));
  EXPECT_EQ(options->telemetry.max_methods, 1);
  EXPECT_EQ(options->telemetry.max_endpoints, 100000);
}

TEST(LoaderTest, ReadsTheOtherSourcesOfEndpoints) {
  const options::ServiceOptions file =
      OnlyService(LoadText("services: {a: {endpoints_file: {path: a/b.yaml}}}",
                           "/etc/mesh/mesh.yaml"));
  const auto& options = std::get<options::EndpointsFileOptions>(file.source);
  EXPECT_EQ(options.path, "/etc/mesh/a/b.yaml");

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
  EXPECT_EQ(StaticSet(service).endpoints[0].metadata().at("x"),
            "/\xC3\xA9\xF0\x9F\x98\x80\t\"");
}

TEST(LoaderTest, ReadsEveryEscapeOfYaml) {
  const options::ServiceOptions service = OnlyService(
      LoadText("services: {a: {endpoints: [{address: '10.0.0.1:80', metadata: "
               "{x: \"\\_a\\N\u00e9\\_\\L\\P\\e\\x85\\u00a0\", \"\\_\": y}}]}}",
               "mesh.yaml"));
  const auto& metadata = StaticSet(service).endpoints[0].metadata();
  EXPECT_EQ(metadata.at("x"),
            "\u00a0a\u0085\u00e9\u00a0\u2028\u2029\x1b\u0085\u00a0");
  EXPECT_EQ(metadata.at("\u00a0"), "y");
}

TEST(LoaderTest, ReadsADeleteInJson) {
  const options::ServiceOptions service = OnlyService(
      LoadText("{\"services\": {\"a\": {\"endpoints\": [{\"address\": "
               "\"10.0.0.1:80\", \"metadata\": {\"x\": \"\x7f\"}}]}}}",
               "mesh.json"));
  EXPECT_EQ(StaticSet(service).endpoints[0].metadata().at("x"), "\x7f");
}

TEST(LoaderTest, ReadsJsonWhateverTheFileIsCalled) {
  // yaml-cpp takes neither surrogate pairs nor tabs between tokens.
  const options::ServiceOptions service = OnlyService(LoadText(
      "{\t\"services\":\t{\"a\": {\"endpoints\": [{\"address\": "
      "\"10.0.0.1:80\", \"metadata\": {\"x\": \"\\uD83D\\uDE00\"}}]}}}",
      "mesh.yaml"));
  EXPECT_EQ(StaticSet(service).endpoints[0].metadata().at("x"),
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
  EXPECT_EQ(
      MessageOf(FromProto(config).status()),
      "services.cart must have one of endpoints, endpoints_file and dns.\n"
      "services.cart.policy.retry.max_attempts must be in 1..10, but is 11.");
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
      hedging: {mode: enforce, delay: 3ms}
      rate_limit: {per_second: 2.5}
      fault: {delay: 2s, abort_percent: 50, abort_code: ABORTED}
      idle_timeout: 1m
    methods:
      shop.Cart/*:
        hedging: {max_attempts: 4, delay: adaptive}
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
  EXPECT_EQ(add.hedging.max_attempts, 4);
  EXPECT_EQ(add.hedging.delay, std::nullopt)
      << "adaptive of *, over the service's 3ms";
  EXPECT_EQ(add.rate_limit.mode, options::Mode::kObserve);
  EXPECT_EQ(add.rate_limit.per_second, 2.5);
  EXPECT_EQ(add.rate_limit.burst, 2.5) << "what a second allows";
  EXPECT_EQ(add.fault.mode, options::Mode::kEnforce);
  EXPECT_EQ(add.fault.abort_share, 0.5);
  EXPECT_FALSE(add.fault.by_header);
  EXPECT_EQ(add.idle_timeout, absl::Minutes(1));

  EXPECT_EQ(service.policy.hedging.delay, absl::Milliseconds(3));
  EXPECT_EQ(service.policy.rate_limit.mode, options::Mode::kEnforce);
  EXPECT_EQ(service.policy.fault.delay_share, 0);
}

TEST(LoaderTest, ARateLimitHoldsAtLeastOneCall) {
  const options::ServiceOptions service = OnlyService(LoadText(
      "services: {a: {endpoints: [], guards: {rate_limit: {per_second: 0.1}}}}",
      "m"));
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

TEST(LoaderTest, ReadsADurationToTheNanosecond) {
  const auto timeout = [](absl::string_view text) {
    return OnlyService(LoadText(absl::StrCat("services: {a: {endpoints: [], "
                                             "policy: {timeout: ",
                                             text, "}}}"),
                                "mesh.yaml"))
        .policy.timeout;
  };
  EXPECT_EQ(timeout("1.000000001s"), absl::Nanoseconds(1000000001));
  EXPECT_EQ(timeout("1.0000000010000000s"), absl::Nanoseconds(1000000001));
  EXPECT_EQ(timeout("1000000.0ns"), absl::Milliseconds(1));
  EXPECT_EQ(timeout("0.0001h"), absl::Milliseconds(360));
  EXPECT_EQ(timeout("0.0000166667m"), absl::Nanoseconds(1000002));
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

TEST(LoaderTest, ReadsNamesInAnyCaseAndOffHoweverItIsWritten) {
  const auto mode = [](absl::string_view text, const std::string& name) {
    return OnlyService(LoadText(text, name)).guards.caps.mode;
  };
  const auto yaml = [&](absl::string_view value) {
    return mode(absl::StrCat("services: {a: {endpoints: [], guards: {caps: "
                             "{mode: ",
                             value, "}}}}"),
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
                                "\"guards\": {\"caps\": {\"mode\": ",
                                off, "}}}}}"),
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

TEST(LoaderTest, RefusesNumbersThatAreNoNamesInAMessage) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["cart"];
  service.add_endpoints()->set_address("10.0.0.1:80");
  service.mutable_guards()->mutable_caps()->set_mode(static_cast<v1::Mode>(7));
  service.mutable_load_balancing()->set_policy(
      static_cast<v1::LoadBalancing::Policy>(9));
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            "services.cart.guards.caps.mode must be off, observe or enforce, "
            "but is 7.\n"
            "services.cart.load_balancing.policy must be least_request or "
            "round_robin, but is 9.");
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
            "is a host name, not an IP address; use \"dns\" for a name.\n"
            "mesh.yaml:3:26: services.cart.endpoints[1].address: "
            "\"10.0.0.1:0\" must have a port in 1..65535.\n"
            "mesh.yaml:4:5: services.cart has no field \"polcy\"; did you mean "
            "\"policy\"?\n"
            "mesh.yaml:6:16: services.cart.policy.timeout must be in 1ms..24h, "
            "but is 0s.\n"
            "mesh.yaml:7:29: services.cart.policy.retry.max_attempts must be "
            "in 1..10, but is 100.\n"
            "mesh.yaml:8:26: telemetry.max_methods must be an integer, but is "
            "the string \"lots\".");
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
  EXPECT_TRUE(absl::EndsWith(error, "\nthere are 234 more.")) << error;
}

}  // namespace
}  // namespace mesh::config
