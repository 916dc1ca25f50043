#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"

namespace mesh::config {
namespace {

TEST_P(BadTextTest, IsReportedExactly) {
  EXPECT_EQ(ErrorOf(GetParam().text), GetParam().error);
}

std::string DeeplyNested() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "- ";
  return text + "x";
}

// Lists of ten aliases each, nine deep.
std::string BillionLaughs() {
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
}

INSTANTIATE_TEST_SUITE_P(  // A table.
    Syntax, BadTextTest,
    testing::Values(
        BadText{"Empty", "", "mesh.yaml: the file is empty."},
        BadText{"OnlyComments", "# a\n\n# b\n",
                "mesh.yaml: the file is empty."},
        BadText{"Null", "~", "mesh.yaml: the file is empty."},
        BadText{"Scalar", "hello",
                "mesh.yaml:1:1: the top level must be a map, but is the string "
                "\"hello\"."},
        BadText{"List", "- a",
                "mesh.yaml:1:1: the top level must be a map, but is a list."},
        BadText{"TwoDocuments", "services: {}\n---\nservices: {}\n",
                "mesh.yaml:2:1: the YAML is not valid: the file has more than "
                "one document."},
        BadText{"ControlCharacter", std::string("services: \0", 11),
                "mesh.yaml:1:11: the control character 0x00 is not text."},
        BadText{"NotUtf8", "services:\n  \xE9t\xE9: {}",
                "mesh.yaml:2:3: the byte 0xE9 is not UTF-8 text."},
        BadText{"SurrogateInUtf8", "\xED\xA0\x80: 1",
                "mesh.yaml:1:1: the byte 0xED is not UTF-8 text."},
        BadText{"Unfinished", "services: {cart: [\n",
                "mesh.yaml:2:1: the YAML is not valid: "
                "end of sequence flow not found."},
        BadText{"UnfinishedString", "services: \"abc\n  def\n",
                "mesh.yaml:1:11: the YAML is not valid: a quoted string does "
                "not end."},
        BadText{"UnfinishedStringOfOtherQuotes", "a: 'abc''\n",
                "mesh.yaml:1:4: the YAML is not valid: a quoted string does "
                "not end."},
        BadText{"Tab", "services:\n\tcart: {endpoints: []}\n",
                "mesh.yaml:2:6: the YAML is not valid: "
                "illegal map value; the line is indented with a tab, where "
                "YAML takes only spaces."},
        BadText{"UnknownAlias", "services: *x",
                "mesh.yaml:1:11: the YAML is not valid: "
                "the referenced anchor is not defined."},
        BadText{"AliasOfItself", "services: &a\n  x: *a\n",
                "mesh.yaml:2:6: the YAML is not valid: an alias stands inside "
                "of what it stands for."},
        BadText{"MapAsAKey", "? {a: b}\n: c\n",
                "mesh.yaml:1:3: the YAML is not valid: "
                "a key must be a string."},
        BadText{"NullAsAKey", "services:\n  null: {endpoints: []}\n",
                "mesh.yaml:2:3: the YAML is not valid: "
                "a key must be a string; put it in quotes."},
        BadText{"AliasOfANullAsAKey", "services:\n  a: &n ~\n  *n : {}\n",
                "mesh.yaml:3:3: the YAML is not valid: "
                "a key must be a string; put it in quotes."},
        BadText{"NothingAsAKey", "services:\n  : {endpoints: []}\n",
                "mesh.yaml:2:3: the YAML is not valid: "
                "a key must be a string; put it in quotes."},
        BadText{"AMissingLastBrace", "{services: {c: {endpoints: []}}\n",
                "mesh.yaml:2:1: the YAML is not valid: "
                "end of map flow not found."},
        BadText{"RawDelete", "services: {c: {authority: \x7f}}",
                "mesh.yaml:1:27: the control character 0x7F is not text."},
        BadText{
            "HalfOfASurrogatePair", Retry("codes: [\"\\uD800\\_\"]"),
            "mesh.yaml:4:37: the YAML is not valid: invalid unicode: 55296."},
        BadText{"UnknownTag", "services: !foo {}",
                "mesh.yaml:1:11: the YAML is not valid: the tag \"!foo\" is "
                "unknown."},
        BadText{"MergeOfAScalar", "services:\n  <<: 5\n",
                "mesh.yaml:2:7: the YAML is not valid: "
                "the value of << must be a map or a list of maps."},
        BadText{"DeepNesting", DeeplyNested(),
                "mesh.yaml:1:129: the YAML is not valid: it is nested more "
                "than 64 levels deep."},
        BadText{"BillionLaughs", BillionLaughs(),
                "mesh.yaml:6:38: the YAML is not valid: it has more than "
                "1000000 values (aliases count each time)."},
        BadText{"UnquotedIPv6", Endpoints("[[::1]:80]"),
                "mesh.yaml:3:17: the YAML is not valid: "
                "a key must be a string; an address such as \"[::1]:80\" needs "
                "quotes."}));

INSTANTIATE_TEST_SUITE_P(
    Json, BadTextTest,
    testing::Values(
        BadText{"NoValue", "{\"services\": }",
                "mesh.yaml:1:14: the JSON is not valid: a value is due here, "
                "not \"}\"."},
        BadText{"Unfinished", "{\"services\": {",
                "mesh.yaml:1:15: the JSON is not valid: a key in quotes is due "
                "here, not the end of the text."},
        BadText{"CommaAtTheEnd", "{\"services\": {},}",
                "mesh.yaml:1:17: the JSON is not valid: a key in quotes is due "
                "here, not \"}\"."},
        BadText{"TwoValues", "{\"services\": {}} {}",
                "mesh.yaml:1:18: the JSON is not valid: the end is due here, "
                "not \"{\"."},
        BadText{"HalfASurrogatePair", "{\"services\":\n \"\\uD83Dx\"}",
                "mesh.yaml:2:3: the JSON is not valid: a string has half of a "
                "surrogate pair."},
        BadText{"UnknownEscape", "{\"services\": \"\\x\"}",
                "mesh.yaml:1:15: the JSON is not valid: a string has an "
                "unknown escape."},
        BadText{"NewlineInAString", "{\"services\": \"a\nb\"}",
                "mesh.yaml:1:14: the JSON is not valid: a string does not end "
                "on its line."},
        BadText{"LeadingZero", "{\"services\": 01}",
                "mesh.yaml:1:14: the JSON is not valid: a number is not "
                "written as JSON has it."},
        BadText{"DuplicateKey", "{\"services\": {},\n\"services\": {}}",
                "mesh.yaml:2:1: services is given twice, first at 1:2."},
        BadText{"Word", "{\"services\": nil}",
                "mesh.yaml:1:14: the JSON is not valid: a value is due here, "
                "not \"n\"."}));

INSTANTIATE_TEST_SUITE_P(  // A table.
    Fields, BadTextTest,
    testing::Values(
        BadText{"UnknownAtTheTop", "servces: {}",
                "mesh.yaml:1:1: the top level has no field \"servces\"; did "
                "you mean \"services\"?"},
        BadText{"UnknownDeep", Retry("max_atempts: 2"),
                "mesh.yaml:4:22: services.cart.policy.retry has no field "
                "\"max_atempts\"; did you mean \"max_attempts\"?"},
        BadText{"CamelCase", Retry("maxAttempts: 2"),
                "mesh.yaml:4:22: services.cart.policy.retry has no field "
                "\"maxAttempts\"; did you mean \"max_attempts\"?"},
        BadText{"UnlikeAny", Service("colour: red"),
                "mesh.yaml:4:5: services.cart has no field \"colour\"."},
        BadText{"DuplicateService",
                "services:\n  cart: {endpoints: []}\n  cart: {endpoints: []}\n",
                "mesh.yaml:3:3: services.cart is given twice, first at 2:3."},
        BadText{"DuplicateField", Service("authority: a\n    authority: b"),
                "mesh.yaml:5:5: services.cart.authority is given twice, first "
                "at 4:5."},
        BadText{"ScalarForAMap", "services:\n  cart: 5\n",
                "mesh.yaml:2:9: services.cart must be a map, but is 5."},
        BadText{"ListForAMap", "services: []",
                "mesh.yaml:1:11: services must be a map, but is a list."},
        BadText{"MapForAList", Endpoints("{}"),
                "mesh.yaml:3:16: services.cart.endpoints must be a list, but "
                "is a map."},
        BadText{"NumberForAString", Service("authority: 1.5"),
                "mesh.yaml:4:16: services.cart.authority must be a string, but "
                "is 1.5; put it in quotes."},
        BadText{"ListForAString", Service("authority: [a]"),
                "mesh.yaml:4:16: services.cart.authority must be a string, but "
                "is a list."},
        BadText{"StringForABool", Service("policy: {idempotent: yes}"),
                "mesh.yaml:4:26: services.cart.policy.idempotent must be true "
                "or false, but is the string \"yes\"."},
        BadText{"StringForAnInteger", Retry("max_attempts: '3'"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be an integer, but is the string \"3\"."},
        BadText{"FractionForAnInteger", Retry("max_attempts: 1.5"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be an integer, but is 1.5."},
        BadText{"StringForANumber", Service("retry_budget: {ratio: half}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be a "
                "number, but is the string \"half\"."},
        BadText{"NotANumber", Service("retry_budget: {ratio: .nan}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be a "
                "finite number, but is .nan."},
        BadText{
            "BareNumberForADuration", Service("policy: {timeout: 5}"),
            "mesh.yaml:4:23: services.cart.policy.timeout must be a duration "
            "such as 250ms, 1.5s, 2m or 1h, but is 5; it needs a unit."},
        BadText{
            "UnknownUnit", Service("policy: {timeout: 5d}"),
            "mesh.yaml:4:23: services.cart.policy.timeout must be a duration "
            "such as 250ms, 1.5s, 2m or 1h, but is the string \"5d\"."},
        BadText{
            "NegativeDuration", Service("policy: {timeout: -5s}"),
            "mesh.yaml:4:23: services.cart.policy.timeout must be a duration "
            "such as 250ms, 1.5s, 2m or 1h, but is the string \"-5s\"."},
        BadText{"UnknownName", Service("load_balancing: {policy: round-robin}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, but is the string "
                "\"round-robin\"; did you mean \"round_robin\"?"},
        BadText{"NumberForAName", Service("load_balancing: {policy: 1}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, but is 1."},
        BadText{"BooleanForAName", Service("load_balancing: {policy: false}"),
                "mesh.yaml:4:30: services.cart.load_balancing.policy must be "
                "least_request or round_robin, but is false."},
        BadText{"TrueForAMode", Service("guards: {caps: {mode: true}}"),
                "mesh.yaml:4:27: services.cart.guards.caps.mode must be off, "
                "observe or enforce, but is true."},
        BadText{"UnknownMode", Service("guards: {caps: {mode: shadow}}"),
                "mesh.yaml:4:27: services.cart.guards.caps.mode must be off, "
                "observe or enforce, but is the string \"shadow\"."},
        BadText{"UnspecifiedMode",
                Service("guards: {caps: {mode: unspecified}}"),
                "mesh.yaml:4:27: services.cart.guards.caps.mode must be off, "
                "observe or enforce, but is the string \"unspecified\"."},
        BadText{"NameOfTheSchema",
                Service("guards: {caps: {mode: MODE_ENFORCE}}"),
                "mesh.yaml:4:27: services.cart.guards.caps.mode must be off, "
                "observe or enforce, but is the string \"MODE_ENFORCE\"; did "
                "you mean \"enforce\"?"},
        BadText{"NullElement", Endpoints("\n    -\n"),
                "mesh.yaml:4:5: services.cart.endpoints[0] must be an address "
                "or a map, but is empty."},
        BadText{"WrittenNullElement", Endpoints("[1.2.3.4:5, ~, NULL, ]"),
                "mesh.yaml:3:28: services.cart.endpoints[1] must be an address "
                "or a map, but is empty.\n"
                "mesh.yaml:3:31: services.cart.endpoints[2] must be an address "
                "or a map, but is empty."},
        BadText{"NullElementOfJson",
                "{\"services\": {\"a\": {\"endpoints\": [null]}}}",
                "mesh.yaml:1:35: services.a.endpoints[0] must be an address or "
                "a map, but is empty."},
        BadText{"WrittenNullInAMap",
                Endpoints("[{address: '1.2.3.4:5', metadata: {a: ~}}]"),
                "mesh.yaml:3:54: services.cart.endpoints[0].metadata.a must be "
                "a string, but is empty."},
        BadText{"NothingBeforeAKeyThatBeginsLikeANull",
                Endpoints("\n    - address: 1.2.3.4:5\n      metadata:\n"
                          "        a:\n        nullable: x\n        b:\n"
                          "        ~x: y"),
                "mesh.yaml:6:9: services.cart.endpoints[0].metadata.a must be "
                "a string, but is empty.\n"
                "mesh.yaml:8:9: services.cart.endpoints[0].metadata.b must be "
                "a string, but is empty."},
        BadText{"NumberForAnEndpoint", Endpoints("[80]"),
                "mesh.yaml:3:17: services.cart.endpoints[0] must be an address "
                "or a map, but is 80."},
        BadText{"FractionForAChannelArgument",
                Service("channel_args: {a: 1.5}"),
                "mesh.yaml:4:23: services.cart.channel_args.a must be an "
                "integer, a string, true or false, but is 1.5."},
        BadText{"TwoValuesOfAChannelArgument",
                Service("channel_args: {a: {integer: 1, text: b}}"),
                "mesh.yaml:4:36: services.cart.channel_args.a must have only "
                "one of integer and text."},
        BadText{"BadValueOfAChannelArgument",
                Service("channel_args: {a: {integer: x}}"),
                "mesh.yaml:4:33: services.cart.channel_args.a.integer must be "
                "an integer, but is the string \"x\"."},
        BadText{"NoValueOfAChannelArgument", Service("channel_args: {a: {}}"),
                "mesh.yaml:4:23: services.cart.channel_args.a has no value."}));

INSTANTIATE_TEST_SUITE_P(
    Ranges, BadTextTest,
    testing::Values(
        BadText{"TooSmall", Retry("max_attempts: 0"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, but is 0."},
        BadText{"Negative", Retry("max_attempts: -1"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, but is -1."},
        BadText{"Enormous", Retry("max_attempts: 99999999999999999999"),
                "mesh.yaml:4:36: services.cart.policy.retry.max_attempts must "
                "be in 1..10, but is 99999999999999999999."},
        BadText{"BeyondAnInteger", Service("channel_args: {a: 2147483648}"),
                "mesh.yaml:4:23: services.cart.channel_args.a must be in "
                "-2147483648..2147483647, but is 2147483648."},
        BadText{"Ratio", Service("retry_budget: {ratio: 1.01}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be in "
                "0..1, but is 1.01."},
        BadText{"ShortDuration", Service("policy: {timeout: 999us}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, but is 999us."},
        BadText{"LongDuration", Service("policy: {timeout: 25h}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, but is 25h."},
        BadText{"EndlessDuration",
                Service("policy: {timeout: 99999999999999999999h}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, but is the string \"99999999999999999999h\"."},
        BadText{"DurationOfMillionsOfYears",
                Service("policy: {timeout: 999999999999h}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be in "
                "1ms..24h, but is the string \"999999999999h\"."},
        BadText{"LessThanANanosecondIsNotAdaptive",
                Service("policy: {hedging: {delay: 0.5ns}}"),
                "mesh.yaml:4:31: services.cart.policy.hedging.delay must be "
                "adaptive or a duration such as 250ms, 1.5s, 2m or 1h, but is "
                "the string \"0.5ns\"; it is finer than a nanosecond."},
        BadText{"LessThanANanosecondIsNotZero",
                Service("outlier_ejection: {ramp: 0.0000000001s}"),
                "mesh.yaml:4:30: services.cart.outlier_ejection.ramp must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, but is the string "
                "\"0.0000000001s\"; it is finer than a nanosecond."},
        BadText{"PartOfANanosecond",
                Service("policy: {timeout: 1.0000000001s}"),
                "mesh.yaml:4:23: services.cart.policy.timeout must be a "
                "duration such as 250ms, 1.5s, 2m or 1h, but is the string "
                "\"1.0000000001s\"; it is finer than a nanosecond."},
        BadText{"ANumberThatIsAlmostZero",
                Service("outlier_ejection: {latency: {factor: 1e-400}}"),
                "mesh.yaml:4:42: services.cart.outlier_ejection.latency.factor "
                "must be a number, but is 1e-400; it is too near to 0."},
        BadText{"JustAboveTheRange",
                Service("retry_budget: {ratio: 1.0000000000000002}"),
                "mesh.yaml:4:27: services.cart.retry_budget.ratio must be in "
                "0..1, but is 1.0000000000000002."},
        BadText{"BeyondALongInteger",
                "limits: {stream_retry_bytes: 18446744073709551616}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, but is 18446744073709551616."},
        BadText{"MoreThanAnIntegerHolds",
                "limits: {stream_retry_bytes: 18446744073709551615}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, but is 18446744073709551615."},
        BadText{"NegativeLongInteger", "limits: {stream_retry_bytes: -1}",
                "mesh.yaml:1:30: limits.stream_retry_bytes must be in "
                "0..17179869184, but is -1."},
        BadText{"EjectionShareOfZero",
                Service("outlier_ejection: {max_ejection_percent: 0}"),
                "mesh.yaml:4:46: "
                "services.cart.outlier_ejection.max_ejection_percent must be "
                "in 1..100, but is 0."},
        BadText{"PanicThatLeavesNoEjection",
                Service("outlier_ejection: {max_ejection_percent: 1, "
                        "panic_threshold_percent: 100}"),
                "mesh.yaml:4:74: "
                "services.cart.outlier_ejection.panic_threshold_percent must "
                "be in 0..99, but is 100."},
        BadText{"FailureRateOfZero",
                Service("guards: {breaker: {failure_rate: 0}}"),
                "mesh.yaml:4:38: services.cart.guards.breaker.failure_rate "
                "must be in 0.01..1, but is 0."},
        BadText{"FailureRateInPercent",
                Service("guards: {breaker: {failure_rate: 50}}"),
                "mesh.yaml:4:38: services.cart.guards.breaker.failure_rate "
                "must be in 0.01..1, but is 50."},
        BadText{"RateOfZero", Service("guards: {rate_limit: {per_second: 0}}"),
                "mesh.yaml:4:39: services.cart.guards.rate_limit.per_second "
                "must be in 0.001..1000000000, but is 0."},
        BadText{"BurstOfZero",
                Service("guards: {rate_limit: {per_second: 1, burst: 0}}"),
                "mesh.yaml:4:49: services.cart.guards.rate_limit.burst must be "
                "in 1..1000000000, but is 0."},
        BadText{"PingsThatServersPunish",
                Service("connections: {keepalive_time: 1s}"),
                "mesh.yaml:4:35: services.cart.connections.keepalive_time must "
                "be in 10s..24h, but is 1s."},
        BadText{"AFactorBetweenOffAndTheLeast",
                Service("outlier_ejection: {latency: {factor: 1}}"),
                "mesh.yaml:4:42: services.cart.outlier_ejection.latency.factor "
                "must be in 0 or 1.1..1000, but is 1."},
        BadText{"HedgingAtOnce", Service("policy: {hedging: {delay: 0s}}"),
                "mesh.yaml:4:31: services.cart.policy.hedging.delay must be in "
                "adaptive or 100us..1h, but is 0s."},
        BadText{"AnUnknownDelay", Service("policy: {hedging: {delay: auto}}"),
                "mesh.yaml:4:31: services.cart.policy.hedging.delay must be "
                "adaptive or a duration such as 250ms, 1.5s, 2m or 1h, but is "
                "the string \"auto\"."},
        BadText{"PortZero", "services: {a: {dns: {name: b, port: 0}}}",
                "mesh.yaml:1:37: services.a.dns.port must be in 1..65535, but "
                "is 0."},
        BadText{"PortTooLarge", "services: {a: {dns: {name: b, port: 65536}}}",
                "mesh.yaml:1:37: services.a.dns.port must be in 1..65535, but "
                "is 65536."},
        BadText{"Weight", Endpoints("[{address: '1.2.3.4:5', weight: 0}]"),
                "mesh.yaml:3:48: services.cart.endpoints[0].weight must be in "
                "1..1000000, but is 0."},
        BadText{"Priority",
                Endpoints("[{address: '1.2.3.4:5', priority: 128}]"),
                "mesh.yaml:3:50: services.cart.endpoints[0].priority must be "
                "in 0..127, but is 128."}));

}  // namespace
}  // namespace mesh::config
