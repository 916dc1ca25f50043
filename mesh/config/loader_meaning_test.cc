#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

INSTANTIATE_TEST_SUITE_P(  // A table.
    Meaning, BadTextTest,
    testing::Values(
        BadText{"NoSource", "services:\n  cart: {authority: a}\n",
                "mesh.yaml:2:9: services.cart must have one of endpoints, "
                "endpoints_file and dns."},
        BadText{"EmptyService", "services:\n  cart:\n",
                "mesh.yaml:2:3: services.cart must have one of endpoints, "
                "endpoints_file and dns."},
        BadText{"EmptySource", "services:\n  cart:\n    dns:\n",
                "mesh.yaml:3:5: services.cart.dns.name is missing.\n"
                "mesh.yaml:3:5: services.cart.dns.port is missing."},
        BadText{"NoEndpointsAtAll", "services:\n  cart:\n    endpoints:\n",
                "mesh.yaml:3:5: services.cart must have one of endpoints, "
                "endpoints_file and dns."},
        BadText{"EmptyMetadata",
                Endpoints("\n    - address: 1.2.3.4:5\n      metadata:\n"
                          "        a:\n"),
                "mesh.yaml:6:9: services.cart.endpoints[0].metadata.a must be "
                "a string, but is empty."},
        BadText{"TwoSources", Service("dns: {name: a, port: 1}"),
                "mesh.yaml:4:10: services.cart must have only one of endpoints "
                "and dns."},
        BadText{"MissingPath", "services: {a: {endpoints_file: {}}}",
                "mesh.yaml:1:32: services.a.endpoints_file.path is missing."},
        BadText{"EmptyPath", "services: {a: {endpoints_file: {path: ''}}}",
                "mesh.yaml:1:39: services.a.endpoints_file.path must not be "
                "empty."},
        BadText{
            "MissingAddress", Endpoints("[{weight: 1}]"),
            "mesh.yaml:3:17: services.cart.endpoints[0].address is missing."},
        BadText{"MissingPort", "services: {a: {dns: {name: b}}}",
                "mesh.yaml:1:21: services.a.dns.port is missing."},
        BadText{"HostNameForAnAddress", Endpoints("[cart.prod:80]"),
                "mesh.yaml:3:17: services.cart.endpoints[0].address: "
                "\"cart.prod:80\" is a host name, not an IP address; use "
                "\"dns\" for a name."},
        BadText{"NoPort", Endpoints("[10.0.0.1]"),
                "mesh.yaml:3:17: services.cart.endpoints[0].address: "
                "\"10.0.0.1\" has no port; an address is \"IPv4:port\", "
                "\"[IPv6]:port\" or \"unix:/path\"."},
        BadText{"SameAddressTwice",
                Endpoints("['[::1]:80', {address: '[0:0::1]:80'}]"),
                "mesh.yaml:3:39: services.cart.endpoints[1].address: "
                "\"[0:0::1]:80\" is the address of services.cart.endpoints[0] "
                "too."},
        BadText{
            "EmptyServiceName", "services: {'': {endpoints: []}}",
            "mesh.yaml:1:12: services: a service's name must not be empty."},
        BadText{"SpaceInAServiceName", "services: {a b: {endpoints: []}}",
                "mesh.yaml:1:12: services[\"a b\"]: a service's name must be "
                "at most 253 printable ASCII characters without spaces."},
        BadText{"CertificateWithoutKey", Service("tls: {cert_file: /dev/null}"),
                "mesh.yaml:4:22: services.cart.tls has cert_file but no "
                "key_file; it needs both or none."},
        BadText{"MethodWithASlashInFront",
                Service("methods: {/a.B/C: {timeout: 1s}}"),
                "mesh.yaml:4:15: services.cart.methods: \"/a.B/C\" must begin "
                "without a slash."},
        BadText{"MethodWithoutAService", Service("methods: {C: {}}"),
                "mesh.yaml:4:15: services.cart.methods: \"C\" must be "
                "\"package.Service/Method\" or \"package.Service/*\"."},
        BadText{"StarInside", Service("methods: {'a.*/C': {}}"),
                "mesh.yaml:4:15: services.cart.methods: \"a.*/C\" must be "
                "\"package.Service/Method\" or \"package.Service/*\"."},
        BadText{"UnknownCode", Retry("codes: [UNAVAILIBLE]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the name of a gRPC status code, but is \"UNAVAILIBLE\"; did "
                "you mean \"UNAVAILABLE\"?"},
        BadText{"CodeOfSuccess", Retry("codes: [OK]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the code of a failure, but is \"OK\"."},
        BadText{"NumberForACode", Retry("codes: [14]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be a "
                "string, but is 14; put it in quotes."},
        BadText{"NoCodes", Retry("codes: []"),
                "mesh.yaml:4:29: services.cart.policy.retry.codes must not be "
                "empty; \"max_attempts: 1\" is no retry."},
        BadText{"MinAboveMax",
                "services: {a: {dns: {name: b, port: 1, min_refresh: 10s, "
                "max_refresh: 5s}}}",
                "mesh.yaml:1:53: services.a.dns.min_refresh must be at most "
                "max_refresh, 5s, but is 10s."},
        BadText{"FirstBackoffAboveTheDefaultOfTheMost",
                Retry("initial_backoff: 5s"),
                "mesh.yaml:4:39: services.cart.policy.retry.initial_backoff "
                "must be at most max_backoff, 1s, but is 5s."},
        BadText{"AttemptTimeoutOfAWiderPolicy",
                Service("policy: {retry: {attempt_timeout: 2s}}\n"
                        "    methods: {a.B/C: {timeout: 1s}}"),
                "mesh.yaml:4:39: services.cart.policy.retry.attempt_timeout "
                "must be less than the method's timeout of 1s, but is 2s, for "
                "a.B/C."},
        BadText{"AttemptTimeoutOfTheMethodItself",
                Service("methods: {a.B/C: {timeout: 1s, retry: "
                        "{attempt_timeout: 2s}}}"),
                "mesh.yaml:4:61: services.cart.methods[\"a.B/C\"].retry."
                "attempt_timeout must be less than the method's timeout of 1s, "
                "but is 2s."},
        BadText{"AttemptTimeoutBesideAServiceConfig",
                Service("policy: {retry: {attempt_timeout: 2s}}\n"
                        "    grpc_service_config: {json: '{\"methodConfig\": "
                        "[{\"name\": [{\"service\": \"a.B\"}], \"timeout\": "
                        "\"1s\"}]}'}"),
                "mesh.yaml:4:39: services.cart.policy.retry.attempt_timeout "
                "must be less than the method's timeout of 1s, but is 2s, for "
                "a.B/*."},
        BadText{"BackoffOfAWiderPolicy",
                Service("policy: {retry: {initial_backoff: 500ms}}\n"
                        "    methods: {a.B/C: {retry: {max_backoff: 100ms}}}"),
                "mesh.yaml:4:39: services.cart.policy.retry.initial_backoff "
                "must be at most max_backoff, 100ms, but is 500ms, for a.B/C."},
        BadText{"MostBackoffBelowTheDefaultOfTheFirst",
                Retry("max_backoff: 10ms"),
                "mesh.yaml:4:35: services.cart.policy.retry.initial_backoff "
                "must be at most max_backoff, 10ms, but is 25ms."},
        BadText{"MostBackoffOfAMethodBelowTheDefaultOfTheFirst",
                Service("methods: {a.B/C: {retry: {max_backoff: 10ms}}}"),
                "mesh.yaml:4:44: services.cart.methods[\"a.B/C\"].retry."
                "initial_backoff must be at most max_backoff, 10ms, but is "
                "25ms."},
        BadText{"SpaceInAChannelArgument", Service("channel_args: {'x y': 1}"),
                "mesh.yaml:4:20: services.cart.channel_args[\"x y\"]: a name "
                "must be printable ASCII characters without spaces."},
        BadText{"TwoServiceConfigs",
                Service("grpc_service_config: {path: a, json: b}"),
                "mesh.yaml:4:26: services.cart.grpc_service_config must have "
                "only one of path and json."},
        BadText{"NoServiceConfig", Service("grpc_service_config: {}"),
                "mesh.yaml:4:26: services.cart.grpc_service_config must have "
                "one of path and json."},
        BadText{
            "EndlessMultiplierInAServiceConfig",
            Service("grpc_service_config:\n      json: '{\"methodConfig\": "
                    "[{\"retryPolicy\": {\"maxAttempts\": 2, "
                    "\"initialBackoff\": \"1s\", \"maxBackoff\": \"1s\", "
                    "\"retryableStatusCodes\": [14], \"backoffMultiplier\": "
                    "1e400}}]}'"),
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 1, "
            "column 149: methodConfig[0].retryPolicy.backoffMultiplier must be "
            "a finite number of more than 0, but is 1e400."},
        BadText{
            "ErrorInAServiceConfig",
            Service("grpc_service_config:\n      json: |\n"
                    "        {\"methodConfig\": [\n"
                    "          {\"timeout\": 5}]}"),
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 2, "
            "column 15: methodConfig[0].timeout must be a string, but is 5."}));

INSTANTIATE_TEST_SUITE_P(
    Contradiction, BadTextTest,
    testing::Values(
        BadText{"HedgeAfterTheTimeout",
                Service("policy: {timeout: 1s, hedging: {mode: enforce, delay: "
                        "1s}}"),
                "mesh.yaml:4:59: services.cart.policy.hedging.delay must be "
                "less than the method's timeout of 1s, but is 1s."},
        BadText{
            "HedgeAfterTheTimeoutOfTheAttempt",
            Service("policy: {hedging: {mode: observe, delay: 1s}, retry: "
                    "{attempt_timeout: 300ms}}"),
            "mesh.yaml:4:46: services.cart.policy.hedging.delay must be less "
            "than the method's retry.attempt_timeout of 300ms, but is 1s."},
        BadText{"HedgingOfWhatIsNotIdempotent",
                Service("policy: {idempotent: false, hedging: {mode: "
                        "enforce}}"),
                "mesh.yaml:4:49: services.cart.policy.hedging.mode must be off "
                "where idempotent is false: a hedge executes a call twice."},
        BadText{"HedgingOfWhatAWiderPolicySaysIsNotIdempotent",
                Service("policy: {idempotent: false}\n"
                        "    methods: {a.B/C: {hedging: {mode: enforce}}}"),
                "mesh.yaml:5:39: services.cart.methods[\"a.B/C\"].hedging.mode "
                "must be off where idempotent is false: a hedge executes a "
                "call twice."},
        BadText{"IdleTimeoutAboveTheTimeout",
                Service("policy: {timeout: 5s, idle_timeout: 5s}"),
                "mesh.yaml:4:41: services.cart.policy.idle_timeout must be "
                "less than the method's timeout of 5s, but is 5s."},
        BadText{"EjectionThatPanicUndoes",
                Service("outlier_ejection: {max_ejection_percent: 60}"),
                "mesh.yaml:4:46: "
                "services.cart.outlier_ejection.max_ejection_percent must be "
                "at most 100 - panic_threshold_percent, 50, but is 60."},
        BadText{"PanicThatUndoesEjection",
                Service("outlier_ejection: {panic_threshold_percent: 80}"),
                "mesh.yaml:4:49: "
                "services.cart.outlier_ejection.max_ejection_percent must be "
                "at most 100 - panic_threshold_percent, 20, but is 30."},
        BadText{"ProbeMethodWithoutASlash",
                Service("silence: {probe_method: a.B/C}"),
                "mesh.yaml:4:29: services.cart.silence.probe_method must be "
                "\"/package.Service/Method\", but is \"a.B/C\"."},
        BadText{"ProbeOfAllMethods", Service("silence: {probe_method: /a.B/*}"),
                "mesh.yaml:4:29: services.cart.silence.probe_method must be "
                "\"/package.Service/Method\", but is \"/a.B/*\"."},
        BadText{"EmptyProbeMethod", Service("silence: {probe_method: ''}"),
                "mesh.yaml:4:29: services.cart.silence.probe_method must be "
                "\"/package.Service/Method\", but is \"\"."},
        BadText{"KeepaliveTimeoutWithoutKeepalive",
                Service("connections: {keepalive_timeout: 5s}"),
                "mesh.yaml:4:38: services.cart.connections.keepalive_timeout "
                "does nothing without keepalive_time."},
        BadText{"KeepaliveTwice",
                Service("connections: {keepalive_time: 60s}\n    "
                        "channel_args: {grpc.keepalive_time_ms: 60000}"),
                "mesh.yaml:4:35: services.cart must have only one of "
                "connections.keepalive_time and the channel argument "
                "grpc.keepalive_time_ms."},
        BadText{"KeepaliveTimeoutAsAnArgument",
                Service("connections: {keepalive_time: 60s}\n    "
                        "channel_args: {grpc.keepalive_timeout_ms: 5000, "
                        "grpc.http2.max_pings_without_data: 1}"),
                "mesh.yaml:5:20: services.cart.channel_args"
                "[\"grpc.keepalive_timeout_ms\"] does nothing beside "
                "connections.keepalive_time: set connections.keepalive_timeout "
                "instead.\n"
                "mesh.yaml:5:53: services.cart.channel_args"
                "[\"grpc.http2.max_pings_without_data\"] does nothing beside "
                "connections.keepalive_time."},
        BadText{"KeepaliveTimeoutTwice",
                Service("connections: {keepalive_time: 60s, keepalive_timeout: "
                        "5s}\n    channel_args: {grpc.keepalive_timeout_ms: "
                        "5000}"),
                "mesh.yaml:4:59: services.cart must have only one of "
                "connections.keepalive_timeout and the channel argument "
                "grpc.keepalive_timeout_ms."},
        BadText{"ArgumentsThatMeshSets",
                Service("channel_args:\n"
                        "      grpc.default_authority: a\n"
                        "      grpc.initial_reconnect_backoff_ms: 1\n"
                        "      grpc.min_reconnect_backoff_ms: 1\n"
                        "      grpc.max_reconnect_backoff_ms: 1"),
                "mesh.yaml:5:7: services.cart.channel_args"
                "[\"grpc.default_authority\"] does nothing: set authority "
                "instead.\n"
                "mesh.yaml:6:7: services.cart.channel_args"
                "[\"grpc.initial_reconnect_backoff_ms\"] does nothing: set "
                "connections.initial_backoff instead.\n"
                "mesh.yaml:7:7: services.cart.channel_args"
                "[\"grpc.min_reconnect_backoff_ms\"] does nothing: set "
                "connections.connect_timeout instead.\n"
                "mesh.yaml:8:7: services.cart.channel_args"
                "[\"grpc.max_reconnect_backoff_ms\"] does nothing: set "
                "connections.max_backoff instead."},
        BadText{
            "EndpointCapAboveTheService",
            Service("guards: {caps: {max_calls: 10, "
                    "max_calls_per_endpoint: 11}}"),
            "mesh.yaml:4:60: services.cart.guards.caps.max_calls_per_endpoint "
            "must be at most max_calls, 10, but is 11."},
        BadText{"RateLimitWithoutARate",
                Service("guards: {rate_limit: {burst: 5, mode: observe}}"),
                "mesh.yaml:4:34: services.cart.guards.rate_limit.burst does "
                "nothing without per_second.\n"
                "mesh.yaml:4:43: services.cart.guards.rate_limit.mode does "
                "nothing without per_second."},
        BadText{
            "RateLimitOfAMethodWithoutARate",
            Service("methods: {a.B/C: {rate_limit: {burst: 5}}}"),
            "mesh.yaml:4:43: services.cart.methods[\"a.B/C\"].rate_limit.burst "
            "does nothing without per_second."},
        BadText{"BadRateIsOneProblem",
                Service("policy: {rate_limit: {per_second: x, burst: 5}}"),
                "mesh.yaml:4:39: services.cart.policy.rate_limit.per_second "
                "must be a number, but is the string \"x\"."},
        BadText{"AbortCodeWithoutPercent",
                Service("policy: {fault: {abort_code: INTERNAL}}"),
                "mesh.yaml:4:34: services.cart.policy.fault.abort_code does "
                "nothing without abort_percent."},
        BadText{"AbortWithSuccess",
                Service("policy: {fault: {abort_percent: 1, abort_code: OK}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must be "
                "the code of a failure, but is \"OK\"."},
        BadText{"AbortWithAnUnknownCode",
                Service("policy: {fault: {abort_percent: 1, abort_code: "
                        "ABORT}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must be "
                "the name of a gRPC status code, but is \"ABORT\"; did you "
                "mean \"ABORTED\"?"},
        BadText{"EmptyAbortCode",
                Service("policy: {fault: {abort_percent: 1, abort_code: ''}}"),
                "mesh.yaml:4:52: services.cart.policy.fault.abort_code must "
                "not be empty."},
        BadText{"DelayWithoutPercent", Service("policy: {fault: {delay: 1s}}"),
                "mesh.yaml:4:29: services.cart.policy.fault.delay does nothing "
                "without delay_percent."},
        BadText{"PercentWithoutDelay",
                Service("policy: {fault: {delay_percent: 1}}"),
                "mesh.yaml:4:37: services.cart.policy.fault.delay_percent does "
                "nothing without delay."},
        BadText{"CancelledIsNotRetried", Retry("codes: [CANCELLED]"),
                "mesh.yaml:4:30: services.cart.policy.retry.codes[0] must be "
                "the code of a failure, but is \"CANCELLED\"."},
        BadText{
            "RetryAndHedgingOfOneMethod",
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
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 4, "
            "column 20: methodConfig[0] must have only one of retryPolicy and "
            "hedgingPolicy.\n"
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 4, "
            "column 36: methodConfig[0].hedgingPolicy.maxAttempts must be at "
            "least 2, but is 1.\n"
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 4, "
            "column 55: methodConfig[0].hedgingPolicy.hedgingDelay must be "
            "less than timeout, 1s, but is 1s.\n"
            "mesh.yaml:5:13: services.cart.grpc_service_config.json, line 4, "
            "column 85: methodConfig[0].hedgingPolicy.nonFatalStatusCodes[0] "
            "must be a status code, but is the string \"BAD\"."}));

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
           "guards: {caps: {max_calls: 0, max_calls_per_endpoint: 10}}",
           "channel_args: {grpc.keepalive_time_ms: 60000, "
           "grpc.keepalive_timeout_ms: 1, grpc.http2.max_pings_without_data: "
           "0}",
           "outlier_ejection: {latency: {factor: 0}}",
           "policy: {hedging: {mode: enforce, delay: 50ms}}, "
           "methods: {a.B/C: {hedging: {delay: adaptive}, timeout: 20ms}}",
       }) {
    EXPECT_EQ(
        LoadText(absl::StrCat("services: {a: {endpoints: [], ", rest, "}}"),
                 "mesh.yaml")
            .status(),
        absl::OkStatus())
        << rest;
  }
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
  service.mutable_connections()->mutable_keepalive_time()->set_seconds(60);
  (*service.mutable_channel_args())["grpc.keepalive_time_ms"].set_integer(1);
  service.mutable_outlier_ejection()->set_panic_threshold_percent(90);
  EXPECT_EQ(MessageOf(FromProto(config).status()),
            "services.cart must have only one of connections.keepalive_time "
            "and the channel argument grpc.keepalive_time_ms.\n"
            "services.cart.outlier_ejection.max_ejection_percent must be at "
            "most 100 - panic_threshold_percent, 10, but is 30.\n"
            "services.cart.policy.hedging.delay must be less than the method's "
            "timeout of 1s, but is 2s.\n"
            "services.cart.policy.hedging.mode must be off where idempotent is "
            "false: a hedge executes a call twice.");
}

}  // namespace
}  // namespace mesh::config
