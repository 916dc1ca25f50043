#include "mesh/telemetry/prometheus.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/telemetry/telemetry_test_util.h"

namespace mesh::telemetry {
namespace {

using cluster::Health;
using cluster::HealthCause;
using testing::HasSubstr;

// One sample line, taken apart.
struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

// Reads the text exposition format (version 0.0.4) and is strict about it:
// what Prometheus would reject, or merely tolerate, is a failure.
class PrometheusReader {
 public:
  explicit PrometheusReader(const std::string& text) {
    EXPECT_TRUE(text.empty() || text.back() == '\n');
    std::vector<std::string> lines = absl::StrSplit(text, '\n');
    lines.pop_back();
    for (const std::string& line : lines) {
      SCOPED_TRACE(line);
      ReadLine(line);
    }
    for (const auto& [name, type] : types_) {
      SCOPED_TRACE(name);
      EXPECT_TRUE(families_.count(name) > 0) << "has samples";
      if (type == "histogram") CheckHistogram(families_[name]);
    }
  }

  const std::map<std::string, std::string>& types() const { return types_; }
  std::vector<Sample> Family(const std::string& name) const {
    const auto it = families_.find(name);
    return it == families_.end() ? std::vector<Sample>() : it->second;
  }

 private:
  static bool IsName(absl::string_view name) {
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) {
      return false;
    }
    for (char c : name) {
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') {
        return false;
      }
    }
    return true;
  }

  void ReadLine(absl::string_view line) {
    if (absl::ConsumePrefix(&line, "# HELP ")) {
      const size_t space = line.find(' ');
      ASSERT_NE(space, line.npos);
      family_ = std::string(line.substr(0, space));
      EXPECT_TRUE(IsName(family_));
      EXPECT_TRUE(helped_.insert(family_).second) << "one HELP a family";
    } else if (absl::ConsumePrefix(&line, "# TYPE ")) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      ASSERT_EQ(words.size(), 2u);
      EXPECT_EQ(words[0], family_) << "TYPE after HELP";
      EXPECT_THAT(words[1], testing::AnyOf("counter", "gauge", "histogram"));
      EXPECT_TRUE(types_.emplace(words[0], words[1]).second);
      if (words[1] == "counter") {
        EXPECT_TRUE(absl::EndsWith(words[0], "_total"));
      }
    } else {
      ReadSample(line);
    }
  }

  void ReadSample(absl::string_view line) {
    Sample sample;
    const size_t name_end = line.find_first_of("{ ");
    ASSERT_NE(name_end, line.npos);
    sample.name = std::string(line.substr(0, name_end));
    EXPECT_TRUE(IsName(sample.name));
    line.remove_prefix(name_end);
    if (absl::ConsumePrefix(&line, "{")) {
      do {
        const size_t equals = line.find("=\"");
        ASSERT_NE(equals, line.npos);
        const std::string label(line.substr(0, equals));
        EXPECT_TRUE(IsName(label));
        line.remove_prefix(equals + 2);
        std::string value;
        while (!line.empty() && line[0] != '"') {
          if (line[0] == '\\') {
            ASSERT_GE(line.size(), 2u);
            ASSERT_THAT(line[1], testing::AnyOf('\\', '"', 'n'));
            value += line[1] == 'n' ? '\n' : line[1];
            line.remove_prefix(2);
          } else {
            value += line[0];
            line.remove_prefix(1);
          }
        }
        ASSERT_TRUE(absl::ConsumePrefix(&line, "\""));
        EXPECT_TRUE(sample.labels.emplace(label, value).second);
      } while (absl::ConsumePrefix(&line, ","));
      ASSERT_TRUE(absl::ConsumePrefix(&line, "}"));
    }
    ASSERT_TRUE(absl::ConsumePrefix(&line, " "));
    const std::string value(line);
    ASSERT_FALSE(value.empty());
    ASSERT_FALSE(std::isspace(static_cast<unsigned char>(value[0])));
    char* end = nullptr;
    sample.value = std::strtod(value.c_str(), &end);
    ASSERT_EQ(*end, '\0') << "a number and nothing after it";

    ASSERT_EQ(types_.count(family_), 1u) << "TYPE before samples";
    if (types_[family_] == "histogram") {
      EXPECT_THAT(sample.name,
                  testing::AnyOf(family_ + "_bucket", family_ + "_sum",
                                 family_ + "_count"));
    } else {
      EXPECT_EQ(sample.name, family_);
    }
    EXPECT_TRUE(seen_.emplace(sample.name, sample.labels).second)
        << "given twice";
    families_[family_].push_back(std::move(sample));
  }

  static void CheckHistogram(const std::vector<Sample>& samples) {
    struct Series {
      std::vector<std::pair<double, double>> buckets;
      double sum = -1;
      double count = -1;
    };
    std::map<std::map<std::string, std::string>, Series> all;
    for (Sample sample : samples) {
      if (absl::EndsWith(sample.name, "_bucket")) {
        ASSERT_EQ(sample.labels.count("le"), 1u);
        const std::string le = sample.labels["le"];
        sample.labels.erase("le");
        all[sample.labels].buckets.emplace_back(
            le == "+Inf" ? std::numeric_limits<double>::infinity()
                         : std::stod(le),
            sample.value);
      } else {
        EXPECT_EQ(sample.labels.count("le"), 0u);
        Series& series = all[sample.labels];
        (absl::EndsWith(sample.name, "_sum") ? series.sum : series.count) =
            sample.value;
      }
    }
    for (const auto& [labels, series] : all) {
      ASSERT_GE(series.buckets.size(), 2u);
      for (size_t i = 1; i < series.buckets.size(); ++i) {
        EXPECT_GT(series.buckets[i].first, series.buckets[i - 1].first);
        EXPECT_GE(series.buckets[i].second, series.buckets[i - 1].second)
            << "cumulative";
      }
      EXPECT_EQ(series.buckets.back().first,
                std::numeric_limits<double>::infinity());
      EXPECT_EQ(series.buckets.back().second, series.count);
      EXPECT_GE(series.sum, 0);
    }
  }

  std::string family_;
  std::set<std::string> helped_;
  std::map<std::string, std::string> types_;
  std::map<std::string, std::vector<Sample>> families_;
  std::set<std::pair<std::string, std::map<std::string, std::string>>> seen_;
};

class PrometheusTest : public TelemetryTest {
 protected:
  // Something of everything.
  Snapshot Everything() {
    const CallInfo call = Call("/shop.Cart/Add");
    EndAttempt(call, AttemptReason::kFirst, absl::StatusCode::kUnavailable);
    EndAttempt(call, AttemptReason::kRetry);
    EndCall(call, absl::Milliseconds(3));
    EndCall(call, absl::Hours(1), absl::StatusCode::kDeadlineExceeded);
    Refuse(base::Guard::kBreaker, /*observed=*/true);
    Refuse(base::Guard::kMaxCalls, /*observed=*/false);
    ChangeHealth(Health::kSuspect, HealthCause::kSilence);
    Probe(ProbeEvent::Stage::kSent);
    EndAttempt(call, AttemptReason::kTransparent, absl::StatusCode::kOk,
               /*never_sent=*/true);
    EndAttempt(call, AttemptReason::kHedge);
    Snapshot snapshot;
    snapshot.services.push_back(Take());
    snapshot.services.back().retry_budget_balance = 9.5;
    snapshot.services.back().retries_denied_by_budget = 1;
    snapshot.services.back().picks_waited = 1;
    snapshot.services.back().picks_failed = 1;
    snapshot.services.back().discovery_doubted = 1;
    snapshot.services.back().connections_by_generation = {{6, 1}, {7, 3}};
    snapshot.services.back().generations_open = 2;
    AdmissionSnapshot& admission = snapshot.services.back().admission;
    admission.calls = 3;
    admission.breaker = "half_open";
    admission.breaker_calls = 200;
    admission.breaker_failed_ratio = 0.5;
    admission.throttle_probability = 0.25;
    admission.concurrency_limit = 40;
    admission.concurrency = 2;
    admission.min_latency = absl::Microseconds(1500);
    snapshot.services.push_back(ServiceMetrics("stock", 1).Snapshot({}, 1));
    snapshot.services.back().discovery_error = "no such host";
    snapshot.services.back().discovery_failures = 4;
    snapshot.services.back().peers_refused = {{"not_allowed", 2}};
    snapshot.services.back().peers_without_crl = 1;
    IdentitySnapshot identity;
    identity.name = "process";
    identity.generation = 7;
    identity.serial = "0a";
    identity.not_after = absl::FromUnixSeconds(2'000'000'000);
    identity.refused = {{"bad", 3}};
    snapshot.identities.push_back(identity);
    ServerSnapshot& server = snapshot.server;
    server.ports = 1;
    server.connections_tls = server.accepted_tls = 4;
    server.closed_before_call = 1;
    server.calls_plaintext = server.calls_unverified = 2;
    server.peers_refused = {{"expired", 1}};
    server.peers_without_crl = 1;
    server.denials = {{"deny[0]", 5, 0}, {"allow", 0, 6}};
    server.denied_by_peer = {{"spiffe://prod/shop", 5}};
    snapshot.exceptions = {{"observers[0]", 5}};
    snapshot.config_reloads = 2;
    return snapshot;
  }
};

TEST_F(PrometheusTest, TheTextIsValidAndHasEveryFamily) {
  const PrometheusReader reader(PrometheusText(Everything()));
  std::map<std::string, std::string> expected;
  for (const MetricFamily& family : MetricFamilies()) {
    expected[family.name] = family.type;
  }
  EXPECT_EQ(reader.types(), expected);
}

TEST_F(PrometheusTest, SamplesHaveTheLabelsOfTheirFamily) {
  const PrometheusReader reader(PrometheusText(Everything()));
  for (const MetricFamily& family : MetricFamilies()) {
    std::vector<std::string> listed =
        absl::StrSplit(family.labels, ' ', absl::SkipEmpty());
    for (const Sample& sample : reader.Family(family.name)) {
      std::vector<std::string> labels;
      for (const auto& [name, value] : sample.labels) {
        if (name != "le") labels.push_back(name);
      }
      EXPECT_THAT(labels, testing::UnorderedElementsAreArray(listed))
          << sample.name;
    }
  }
}

TEST_F(PrometheusTest, ValuesAreThoseOfTheSnapshot) {
  const PrometheusReader reader(PrometheusText(Everything()));
  const auto value = [&](const std::string& family,
                         const std::map<std::string, std::string>& labels,
                         const std::string& suffix = "") {
    for (const Sample& sample : reader.Family(family)) {
      if (sample.name == family + suffix && sample.labels == labels) {
        return sample.value;
      }
    }
    return -1.0;
  };
  EXPECT_EQ(value("grpc_client_call_duration_seconds",
                  {{"grpc_target", "cart"},
                   {"grpc_method", "shop.Cart/Add"},
                   {"grpc_status", "OK"},
                   {"le", "0.003"}},
                  "_bucket"),
            1);
  EXPECT_EQ(value("grpc_client_call_duration_seconds",
                  {{"grpc_target", "cart"},
                   {"grpc_method", "shop.Cart/Add"},
                   {"grpc_status", "DEADLINE_EXCEEDED"}},
                  "_sum"),
            3600);
  EXPECT_EQ(
      value("mesh_endpoint_attempts_total", {{"grpc_target", "cart"},
                                             {"address", "10.0.0.1:80"},
                                             {"grpc_status", "UNAVAILABLE"}}),
      1);
  EXPECT_EQ(value("mesh_client_retries_total",
                  {{"grpc_target", "cart"}, {"grpc_method", "shop.Cart/Add"}}),
            1);
  EXPECT_EQ(value("mesh_retry_budget_balance", {{"grpc_target", "cart"}}), 9.5);
  EXPECT_EQ(value("mesh_refusals_total", {{"grpc_target", "cart"},
                                          {"guard", "breaker"},
                                          {"mode", "observe"}}),
            1);
  EXPECT_EQ(value("mesh_health_changes_total", {{"grpc_target", "cart"},
                                                {"to", "suspect"},
                                                {"cause", "silence"},
                                                {"mode", "enforce"}}),
            1);
  EXPECT_EQ(value("mesh_endpoint_health", {{"grpc_target", "cart"},
                                           {"address", "10.0.0.1:80"},
                                           {"health", "healthy"}}),
            1);
  EXPECT_EQ(value("mesh_endpoint_share",
                  {{"grpc_target", "cart"}, {"address", "10.0.0.1:80"}}),
            1);
  EXPECT_EQ(
      value("mesh_probes_total", {{"grpc_target", "cart"}, {"stage", "sent"}}),
      1);
  EXPECT_EQ(value("mesh_calls_in_flight", {{"grpc_target", "cart"}}), 3);
  EXPECT_EQ(value("mesh_breaker_state",
                  {{"grpc_target", "cart"}, {"state", "half_open"}}),
            1);
  EXPECT_EQ(value("mesh_throttle_probability", {{"grpc_target", "cart"}}),
            0.25);
  EXPECT_EQ(value("mesh_breaker_calls", {{"grpc_target", "cart"}}), 200);
  EXPECT_EQ(value("mesh_breaker_failed_ratio", {{"grpc_target", "cart"}}), 0.5);
  EXPECT_EQ(value("mesh_concurrency_limit", {{"grpc_target", "cart"}}), 40);
  EXPECT_EQ(
      value("mesh_concurrency_calls_in_flight", {{"grpc_target", "cart"}}), 2);
  EXPECT_EQ(
      value("mesh_concurrency_min_latency_seconds", {{"grpc_target", "cart"}}),
      0.0015);
  EXPECT_EQ(
      value("mesh_connections", {{"grpc_target", "cart"}, {"generation", "7"}}),
      3);
  EXPECT_EQ(value("mesh_generations_open", {{"grpc_target", "cart"}}), 2);
  EXPECT_EQ(value("mesh_discovery_failing", {{"grpc_target", "cart"}}), 0);
  EXPECT_EQ(value("mesh_discovery_failing", {{"grpc_target", "stock"}}), 1);
  EXPECT_EQ(
      value("mesh_application_exceptions_total", {{"code", "observers[0]"}}),
      5);
  EXPECT_EQ(value("mesh_config_reloads_total", {}), 2);
}

TEST_F(PrometheusTest, WhatHasNotOccurredHasNoSeries) {
  Snapshot snapshot;
  snapshot.services.push_back(Take());
  const PrometheusReader reader(PrometheusText(snapshot));
  for (const MetricFamily& family : MetricFamilies()) {
    const bool listed = reader.types().count(family.name) > 0;
    if (family.once_occurred) {
      EXPECT_FALSE(listed) << family.name;
    } else if (absl::EndsWith(family.name, "_total") &&
               absl::string_view(family.labels) != "grpc_target grpc_method") {
      EXPECT_TRUE(listed) << family.name;
    }
  }
}

TEST_F(PrometheusTest, AModeThatHasNotOccurredHasNoSeries) {
  Refuse(base::Guard::kBreaker, /*observed=*/true);
  ChangeHealth(Health::kEjected, HealthCause::kLatency);
  Snapshot snapshot;
  snapshot.services.push_back(Take());
  const PrometheusReader reader(PrometheusText(snapshot));
  ASSERT_EQ(reader.Family("mesh_refusals_total").size(), 1u);
  EXPECT_EQ(reader.Family("mesh_refusals_total")[0].labels.at("mode"),
            "observe");
  ASSERT_EQ(reader.Family("mesh_health_changes_total").size(), 1u);
  EXPECT_EQ(reader.Family("mesh_health_changes_total")[0].labels.at("mode"),
            "enforce");
}

// Each service adds so much to what is collected every few seconds.
TEST_F(PrometheusTest, AServiceInWhichNothingHappenedIsSmall) {
  const auto size_of = [](const std::vector<ServiceSnapshot>& services) {
    Snapshot snapshot;
    snapshot.services = services;
    const std::string text = PrometheusText(snapshot);
    const auto lines = std::count(text.begin(), text.end(), '\n') -
                       2 * PrometheusReader(text).types().size();
    return std::pair<size_t, size_t>(lines, text.size());
  };
  ServiceSnapshot cart = Take();
  ServiceSnapshot stock = cart;
  stock.service = "stock";
  const auto [lines, bytes] = size_of({cart});
  const auto [more_lines, more_bytes] = size_of({cart, stock});
  EXPECT_LE(more_lines - lines, 15u);
  EXPECT_LE(more_bytes - bytes, 800u);
  // One method and one call more: mostly the buckets of its latency.
  const CallInfo call = Call("/shop.Cart/Add");
  EndAttempt(call);
  EndCall(call);
  const auto [call_lines, call_bytes] = size_of({Take()});
  EXPECT_LE(call_lines - lines, 44u);
  EXPECT_LE(call_bytes, 10'000u) << "with HELP and TYPE, once for each Mesh";
}

TEST_F(PrometheusTest, GuardsThatAreOffHaveNoFigures) {
  const PrometheusReader reader(PrometheusText(Everything()));
  for (const char* family :
       {"mesh_breaker_state", "mesh_breaker_calls", "mesh_breaker_failed_ratio",
        "mesh_concurrency_calls_in_flight",
        "mesh_concurrency_min_latency_seconds"}) {
    for (const Sample& sample : reader.Family(family)) {
      EXPECT_NE(sample.labels.at("grpc_target"), "stock") << family;
    }
  }
}

TEST_F(PrometheusTest, LabelValuesAreEscaped) {
  Snapshot snapshot;
  snapshot.services.emplace_back();
  snapshot.services[0].service = "a\"b\\c\nd";
  const std::string text = PrometheusText(snapshot);
  EXPECT_THAT(text, HasSubstr(R"({grpc_target="a\"b\\c\nd"})"));
  EXPECT_EQ(
      PrometheusReader(text).Family("mesh_endpoints_left_out")[0].labels.at(
          "grpc_target"),
      "a\"b\\c\nd");
}

TEST_F(PrometheusTest, WhatIsNotUtf8IsReplaced) {
  Snapshot snapshot;
  snapshot.services.emplace_back();
  for (const auto& [bytes, expected] :
       std::vector<std::pair<std::string, std::string>>{
           {"caf\xc3\xa9", "caf\xc3\xa9"},
           {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
           {"a\xff", "a\xef\xbf\xbd"},
           {"\xc3", "\xef\xbf\xbd"},
           {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
           {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}}) {
    snapshot.services[0].service = bytes;
    EXPECT_THAT(PrometheusText(snapshot),
                HasSubstr(absl::StrCat("{grpc_target=\"", expected, "\"}")));
  }
}

TEST_F(PrometheusTest, LargeCountsAreWrittenInFull) {
  Snapshot snapshot;
  snapshot.config_reloads = 12345678901234567u;
  EXPECT_THAT(PrometheusText(snapshot),
              HasSubstr("mesh_config_reloads_total 12345678901234567\n"));
}

TEST(MetricsPageTest, ListsEveryFamilyAsTheCodeHasIt) {
  std::string expected =
      "| Name | Type | Labels | From | Meaning |\n|---|---|---|---|---|\n";
  for (const MetricFamily& family : MetricFamilies()) {
    const std::string labels =
        absl::StrReplaceAll(family.labels, {{" ", "`, `"}});
    absl::StrAppend(&expected, "| `", family.name, "` | ", family.type, " | ",
                    labels.empty() ? "" : absl::StrCat("`", labels, "` "), "| ",
                    family.once_occurred ? "first" : "start", " | ",
                    family.help, " |\n");
  }
  std::ifstream file("docs/reference/metrics.md");
  ASSERT_TRUE(file.good());
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_TRUE(absl::StrContains(page.str(), expected))
      << "docs/reference/metrics.md must contain this table:\n\n"
      << expected;
}

}  // namespace
}  // namespace mesh::telemetry
