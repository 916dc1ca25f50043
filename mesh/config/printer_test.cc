// What is printed reads back to the same configuration.

#include "mesh/config/printer.h"

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/config/defaults.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/config/options_text_test_util.h"
#include "mesh/config/random_config_test_util.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string TextOf(const options::MeshOptions& options) {
  return options.written->Text(options.telemetry);
}

std::string Load(const std::string& text) {
  const auto options = LoadText(text, "/etc/mesh/mesh.yaml");
  return options.ok() ? TextOf(*options) : options.status().ToString();
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path << " is not in the test's data";
  return {std::istreambuf_iterator<char>(file), {}};
}

// Expects that what is printed of `options` means the same.
void ExpectRoundTrip(const options::MeshOptions& options) {
  const std::string text = TextOf(options);
  const auto again = LoadText(text, "/somewhere/else.yaml");
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  EXPECT_EQ(OptionsText(*again), OptionsText(options)) << text;
  EXPECT_EQ(TextOf(*again), text);
}

TEST(PrinterTest, WritesEveryDefaultThatActs) {
  EXPECT_EQ(Load("services: {cart: {endpoints: [10.0.0.1:80]}}"),
            R"(services:
  cart:
    endpoints:
      - "10.0.0.1:80"
    load_balancing:
      policy: least_request
    connections:
      ahead: 32
      connect_timeout: 5s
      initial_backoff: 250ms
      max_backoff: 10s
      drain_timeout: 1h
    authority: cart
    policy:
      retry:
        max_attempts: 3
        codes: [UNAVAILABLE]
        initial_backoff: 25ms
        max_backoff: 1s
        stream_bytes: 1048576
      hedging:
        mode: off
        delay: adaptive
        max_attempts: 2
    retry_budget:
      ratio: 0.05
      min_per_second: 5
    outlier_ejection:
      mode: enforce
      base_ejection_time: 30s
      max_ejection_percent: 30
      panic_threshold_percent: 50
      consecutive_local_failures: 5
      ramp: 1s
      latency:
        factor: 3
        min_difference: 5ms
        min_duration: 1s
    silence:
      mode: enforce
      min_duration: 50ms
      latency_factor: 3
      probe_method: /grpc.health.v1.Health/Check
    guards:
      caps:
        mode: enforce
        max_calls: 10000
        max_calls_per_endpoint: 0
        max_waiting: 10000
        max_streams: 0
      breaker:
        mode: observe
        failure_rate: 0.5
        window: 10s
        open_for: 1s
      throttle:
        mode: observe
      adaptive_concurrency:
        mode: observe
        min_limit: 4
        latency_factor: 2
telemetry:
  max_methods: 200
  max_endpoints: 1000
  max_peers: 200
limits:
  stream_retry_bytes: 67108864
)");
}

// A group that is absent is not there; one with nothing in it is.
TEST(PrinterTest, TellsGroupsThatAreThereFromAbsentOnes) {
  EXPECT_THAT(Load("services: {a: {endpoints: [], tls: }}"),
              testing::HasSubstr("\n    tls:\n      mode: tls\n"));
  const std::string text =
      Load("services: {a: {endpoints: [], methods: {b.C/D: }}}");
  EXPECT_THAT(text, testing::HasSubstr("\n      b.C/D: {}\n"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("tls")));
  EXPECT_THAT(text, testing::HasSubstr("\n    endpoints: []\n"));
}

TEST(PrinterTest, LeavesSingleMethodsToTheWiderPolicies) {
  EXPECT_THAT(
      Load("services: {a: {endpoints: [], methods: {b.C/D: {retry: "
           "{max_attempts: 5}, hedging: {delay: 1ms}, rate_limit: {burst: 2}}},"
           " policy: {rate_limit: {per_second: 2.5}}}}"),
      testing::AllOf(testing::HasSubstr("      b.C/D:\n"
                                        "        retry:\n"
                                        "          max_attempts: 5\n"
                                        "        hedging:\n"
                                        "          delay: 1ms\n"
                                        "        rate_limit:\n"
                                        "          burst: 2\n"
                                        "    retry_budget:"),
                     testing::HasSubstr("      rate_limit:\n"
                                        "        mode: enforce\n"
                                        "        per_second: 2.5\n"
                                        "    methods:")));
}

// The defaults of retries would go before those of the gRPC service config.
TEST(PrinterTest, WritesNoDefaultBeforeAGrpcServiceConfig) {
  const auto options = LoadText(
      R"(services:
  a:
    endpoints: []
    policy: {retry: {max_backoff: 2s}}
    grpc_service_config:
      json: |
        {"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4,
          "initialBackoff": "0.05s", "maxBackoff": "1s",
          "backoffMultiplier": 1.5, "retryableStatusCodes": ["ABORTED"]}}]}
)",
      "mesh.yaml");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(TextOf(*options), testing::HasSubstr("    policy:\n"
                                                   "      retry:\n"
                                                   "        max_backoff: 2s\n"
                                                   "    retry_budget:"));
  ExpectRoundTrip(*options);
}

TEST(PrinterTest, NamesFilesByAbsolutePaths) {
  EXPECT_THAT(Load("services: {a: {endpoints_file: {path: b.yaml}}}"),
              testing::HasSubstr("    endpoints_file:\n"
                                 "      path: /etc/mesh/b.yaml\n"));
  v1::Config config;
  (*config.mutable_services())["a"].mutable_endpoints_file()->set_path(
      "b.yaml");
  const auto options = FromProto(config);
  ASSERT_TRUE(options.ok());
  char directory[4096];
  ASSERT_NE(getcwd(directory, sizeof(directory)), nullptr);
  EXPECT_THAT(TextOf(*options),
              testing::HasSubstr(absl::StrCat("path: ", directory, "/b.yaml")));
}

TEST(PrinterTest, QuotesWhatIsNoPlainText) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["1.5"];
  auto& arguments = *service.mutable_channel_args();
  const std::vector<std::string> texts = {"",
                                          "plain",
                                          "true",
                                          "No",
                                          "1",
                                          "1.5",
                                          "~",
                                          "a: b",
                                          "a #b",
                                          "- a",
                                          "\"'\\",
                                          "\n\t\r",
                                          "\x01\x7f",
                                          "\xc2\x85",
                                          "\u2028",
                                          "\ufeff",
                                          "\u00e9\u4e2d",
                                          "{a",
                                          "[",
                                          "*a",
                                          "&a",
                                          "!a",
                                          "|",
                                          "% a",
                                          "\U0001F600",
                                          "@",
                                          "`",
                                          " a ",
                                          "off"};
  for (size_t i = 0; i < texts.size(); ++i) {
    arguments[absl::StrCat("x", i)].set_text(texts[i]);
  }
  arguments["null"].set_boolean(true);
  arguments["yes"].set_integer(-5);
  const auto options = FromProto(config);
  ASSERT_FALSE(options.ok()) << "it has no endpoints";
  service.mutable_dns()->set_name("a.b");
  service.mutable_dns()->set_port(1);
  const auto good = FromProto(config);
  ASSERT_TRUE(good.ok()) << good.status();
  ExpectRoundTrip(*good);
}

TEST(PrinterTest, WritesTelemetryAsItHolds) {
  const auto options = LoadText("telemetry: {max_methods: 5}", "mesh.yaml");
  ASSERT_TRUE(options.ok());
  options::TelemetryOptions in_force;
  in_force.max_methods = 7;
  EXPECT_THAT(options->written->Text(in_force),
              testing::HasSubstr("max_methods: 7\n"));
}

TEST(PrinterTest, EveryExampleReadsBack) {
  for (const char* example : {"policy", "shop", "simulate"}) {
    const std::string path = absl::StrCat("examples/", example, "/mesh.yaml");
    const auto options = LoadText(ReadText(path), "/etc/" + path);
    ASSERT_TRUE(options.ok()) << options.status();
    ExpectRoundTrip(*options);
  }
}

// In shards: these are many.
constexpr int kShards = 4;

class RandomConfigTest : public testing::TestWithParam<int> {};

TEST_P(RandomConfigTest, ReadsBack) {
  RandomConfigs random(testing::TempDir());
  for (int seed = GetParam(); seed < 1000; seed += kShards) {
    const v1::Config config = random.Make(seed);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    const auto options = FromProto(config);
    ASSERT_TRUE(options.ok()) << options.status();
    ExpectRoundTrip(*options);
    if (HasFailure()) return;
    const v1::Config whole = WithDefaults(config, "");
    EXPECT_THAT(Differences(whole, WithDefaults(whole, "")), IsEmpty());
  }
  if (GetParam() == 0) {
    EXPECT_THAT(random.FieldsNeverSet(), IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(All, RandomConfigTest, testing::Range(0, kShards));

TEST(PrinterTest, AQuotedMergeKeyIsAKeyLikeOthers) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["<<"];
  v1::Endpoint& endpoint = *service.add_endpoints();
  endpoint.set_address("10.0.0.1:80");
  (*endpoint.mutable_metadata())["<<"] = "x";
  const auto read = LoadText(ToYaml(config), "mesh.yaml");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->services.count("<<"), 1u);
}

TEST(PrinterTest, WhatCouldNotBeReadBackIsNoConfiguration) {
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["cart"];
  v1::Endpoint& endpoint = *service.add_endpoints();
  endpoint.set_address("10.0.0.1:80");
  auto& metadata = *endpoint.mutable_metadata();
  metadata["v"] = "\xFF";
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            "services.cart.endpoints[0].metadata.v must be UTF-8 text.");
  metadata["v"] = "1";
  metadata[std::string(254, 'k')] = "1";
  EXPECT_THAT(MessageOf(FromProto(config).status()),
              HasSubstr(": a name must have at most 253 bytes, but has 254."));
}

// The configuration `text`, with every default.
v1::Config Whole(const std::string& name, const std::string& text) {
  const std::string path =
      absl::StrCat(testing::TempDir(), "/differences_", name, ".yaml");
  std::ofstream(path) << text;
  const auto loaded = LoadFileWithDefaults(path);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.value_or(v1::Config());
}

TEST(DifferencesTest, AreNoneWhereThingsAreOnlyWrittenInAnotherWay) {
  const v1::Config a = Whole("one", R"(
services:
  cart:
    endpoints: ["[::1]:80", 10.0.0.1:80]
    channel_args: {on: true, off: 0, other: true, text: "1"}
    policy: {timeout: 60s, retry: {codes: [UNAVAILABLE, ABORTED]}}
)");
  const v1::Config b = Whole("two", R"(
services:
  cart:
    endpoints: [10.0.0.1:80, {address: "[0::1]:80", priority: 0}]
    channel_args: {on: 1, off: false, other: 2, text: 1}
    policy: {timeout: 1m, retry: {codes: [ABORTED, UNAVAILABLE]}}
)");
  EXPECT_THAT(Differences(a, b),
              ElementsAre("services.cart.channel_args.other: true -> 2",
                          "services.cart.channel_args.text: \"1\" -> 1"));
}

TEST(DifferencesTest, AreOneSettingALine) {
  const v1::Config a = Whole("a", R"(
services:
  cart:
    endpoints: [10.0.0.1:80, 10.0.0.2:80]
    channel_args: {grpc.x: 1, grpc.y: a}
    methods: {a.B/C: {timeout: 1s}, a.B/D: {}}
    policy: {retry: {codes: [UNAVAILABLE, ABORTED]}}
  old: {dns: {name: a.b, port: 1}}
)");
  const v1::Config b = Whole("b", R"(
services:
  cart:
    endpoints: [10.0.0.2:80, {address: 10.0.0.1:80, metadata: {v: "2"}}]
    channel_args: {grpc.x: "1"}
    methods: {a.B/C: {timeout: 1.5s, retry: {max_attempts: 1}}}
    tls: {}
limits: {stream_retry_bytes: 1}
)");
  EXPECT_THAT(Differences(a, a), IsEmpty());
  EXPECT_THAT(
      Differences(a, b),
      ElementsAre(
          "services.cart.endpoints[\"10.0.0.1:80\"].metadata.v: (absent) -> "
          "\"2\"",
          "services.cart.tls: (absent) -> (given)",
          "services.cart.channel_args[\"grpc.x\"]: 1 -> \"1\"",
          "services.cart.channel_args[\"grpc.y\"]: a -> (absent)",
          "services.cart.policy.retry.codes: [UNAVAILABLE, ABORTED] -> "
          "[UNAVAILABLE]",
          "services.cart.methods[\"a.B/C\"].timeout: 1s -> 1.5s",
          "services.cart.methods[\"a.B/C\"].retry: (absent) -> (given)",
          "services.cart.methods[\"a.B/D\"]: (given) -> (absent)",
          "services.old: (given) -> (absent)",
          "limits.stream_retry_bytes: 67108864 -> 1"));
}

}  // namespace
}  // namespace mesh::config
