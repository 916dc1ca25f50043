#include <stdlib.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "examples/shop/certificates.h"
#include "examples/shop/endpoints_file.h"
#include "examples/shop/experiment.h"
#include "examples/shop/files.h"
#include "examples/shop/process.h"
#include "examples/shop/report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/mesh.h"

namespace shop {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// An arm of 40 s with a call of each of three kinds every 10 ms, and no
// failures.
ArmLog QuietLog(const std::string& arm) {
  ArmLog log;
  log.arm = arm;
  log.phases = PlanPhases(40);
  log.servers = {"catalog-1", "catalog-2", "catalog-3"};
  log.start_ns = 5'000'000'000;
  for (int64_t n = 0; n < 4000; ++n) {
    for (Kind kind : {Kind::kViewItem, Kind::kCheckout, Kind::kSearch}) {
      CallRecord call = {};
      call.due_ns = log.start_ns + n * 10'000'000;
      call.latency_ns = 7'000'000;
      call.kind = kind;
      log.calls.push_back(call);
    }
  }
  for (int n = 0; n <= 400; ++n) {
    Sample sample;
    sample.time = n * 0.1;
    sample.calls.assign(3, n * 10);
    if (arm == "mesh") {
      sample.suspected = {n >= 100 ? 1u : 0u, 0, 0};
      sample.ejected = {0, n >= 200 ? 2u : 0u, 0};
    }
    log.samples.push_back(sample);
  }
  return log;
}

const Phase& PhaseOf(const ArmLog& log, const std::string& id) {
  return *std::find_if(log.phases.begin(), log.phases.end(),
                       [&](const Phase& phase) { return phase.id == id; });
}

TEST(PlanTest, PhasesFollowEachOtherAndFillTheRun) {
  const std::vector<Phase> phases = PlanPhases(37);
  double end = 0;
  for (const Phase& phase : phases) {
    EXPECT_DOUBLE_EQ(phase.begin, end) << phase.id;
    EXPECT_LE(phase.begin, phase.fault_from) << phase.id;
    EXPECT_LE(phase.fault_from, phase.fault_to) << phase.id;
    EXPECT_LT(phase.fault_to, phase.end) << phase.id;
    end = phase.end;
  }
  EXPECT_DOUBLE_EQ(end, 37);
}

TEST(PlanTest, TheShortestRunStillMeasuresTheSlowShareForASecond) {
  ArmLog log;
  log.phases = PlanPhases(kMinArmSeconds);
  const Phase& slow = PhaseOf(log, "slow");
  EXPECT_GE(slow.fault_to - slow.fault_from, 3);
}

TEST(StatsTest, AFailureIsCountedInItsPhaseAndClassOnly) {
  ArmLog log = QuietLog("mesh");
  const Phase& stop = PhaseOf(log, "stop");
  for (CallRecord& call : log.calls) {
    const double due = (call.due_ns - log.start_ns) * 1e-9;
    if (call.kind == Kind::kViewItem && due >= stop.begin && due < stop.end) {
      call.status = 4;
    }
  }
  const auto metrics = MetricsOf({log});
  EXPECT_GT(metrics.at("mesh.stop.failed"), 0);
  EXPECT_EQ(metrics.at("mesh.stop.failed"), metrics.at("mesh.failed"));
  EXPECT_EQ(metrics.at("mesh.stop.success"), 0);
  EXPECT_EQ(metrics.at("mesh.kill.failed"), 0);
  EXPECT_EQ(metrics.at("mesh.once.failed"), 0);
  EXPECT_EQ(metrics.at("mesh.stream.failed"), 0);
  EXPECT_EQ(metrics.at("mesh.calls"), 4000);
  EXPECT_EQ(metrics.at("mesh.once.calls"), 4000);
}

TEST(StatsTest, ALateStartIsCounted) {
  ArmLog log = QuietLog("mesh");
  log.calls[0].late_ns = 51'000'000;
  log.calls[3].late_ns = 49'000'000;
  EXPECT_EQ(StatsOf(log, Class::kIdempotent, 0, 40).late_starts, 1u);
}

TEST(StatsTest, AQuantileIsTheSmallestValueThatSoManyAreNotAbove) {
  std::vector<double> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(Quantile(0.5, &values), 3);
  EXPECT_EQ(Quantile(0.99, &values), 5);
  EXPECT_EQ(Quantile(0, &values), 1);
  values.clear();
  EXPECT_EQ(Quantile(0.5, &values), 0);
}

TEST(SlowShareTest, BeginsTwoSecondsAfterTheCatalogSlowsDown) {
  ArmLog log = QuietLog("mesh");
  const Phase& slow = PhaseOf(log, "slow");
  // A third until two seconds after the slowdown, nothing from then on.
  double frozen = 0;
  for (Sample& sample : log.samples) {
    if (sample.time <= slow.fault_from + 2) {
      frozen = sample.calls[2];
    } else {
      sample.calls[2] = frozen;
    }
  }
  EXPECT_EQ(SlowShareOf(log), 0);
  EXPECT_NEAR(SlowShareOf(QuietLog("bare")), 1.0 / 3, 1e-9);
}

TEST(HealthTest, CountsWhatWasTakenOutOfUseBetweenTwoTimes) {
  const ArmLog log = QuietLog("mesh");
  EXPECT_EQ(HealthOf(log, 0, 9).suspected, 0u);
  EXPECT_EQ(HealthOf(log, 9, 11).suspected, 1u);
  EXPECT_EQ(HealthOf(log, 0, 40).ejected, 2u);
  EXPECT_EQ(MetricsOf({log}).at("mesh.ejected"), 2);
  EXPECT_EQ(HealthOf(QuietLog("bare"), 0, 40).ejected, 0u);
}

// A call of `kind` that was due at `due` seconds and failed after `lasted`.
CallRecord Failed(const ArmLog& log, Kind kind, double due, double lasted) {
  CallRecord call = {};
  call.due_ns = log.start_ns + static_cast<int64_t>(due * 1e9);
  call.latency_ns = static_cast<int64_t>(lasted * 1e9);
  call.kind = kind;
  call.status = 14;
  return call;
}

TEST(RotationTest, AFailureIsLostToItWhereNoFaultExplainsIt) {
  ArmLog log = QuietLog("mesh");
  EXPECT_EQ(UnexplainedOf(log), 0u);
  const Phase& kill = PhaseOf(log, "kill");
  const double amid = (kill.fault_from + kill.fault_to) / 2;
  // The fault, what was under way when it came, and its aftermath.
  log.calls.push_back(Failed(log, Kind::kViewCart, amid, 0.1));
  log.calls.push_back(Failed(log, Kind::kViewCart, kill.fault_from - 0.2, 0.5));
  log.calls.push_back(Failed(log, Kind::kViewCart, kill.fault_to + 0.5, 0.1));
  EXPECT_EQ(UnexplainedOf(log), 0u);
  // It ended before, began later, or went to another service.
  log.calls.push_back(Failed(log, Kind::kViewCart, kill.fault_from - 0.2, 0.1));
  log.calls.push_back(Failed(log, Kind::kAddItem, kill.fault_to + 1.1, 0.1));
  log.calls.push_back(Failed(log, Kind::kCheckout, amid, 0.1));
  EXPECT_EQ(UnexplainedOf(log), 3u);
  // The rolling restart hits all.
  const Phase& rolling = PhaseOf(log, "rolling");
  log.calls.push_back(Failed(log, Kind::kUpload, rolling.fault_from, 0.1));
  EXPECT_EQ(MetricsOf({log}).at("mesh.lost_to_rotations"), 3);
}

// What stands in the files of one process, as mesh reads them.
struct Read {
  std::string spiffe_id;
  std::string serial;
  int authorities = 0;
};
Read ReadIdentity(const std::string& directory) {
  mesh::Options options;
  options.log_sink = [](mesh::LogSeverity severity, absl::string_view line) {
    EXPECT_EQ(severity, mesh::LogSeverity::kInfo) << line;
  };
  const auto mesh =
      mesh::Mesh::FromFile(directory + "/server.yaml", std::move(options));
  EXPECT_TRUE(mesh.ok()) << mesh.status();
  if (!mesh.ok()) return {};
  const auto identity = (*mesh)->Metrics().identities.at(0);
  const std::string trusted = ReadFile(directory + "/ca.crt");
  Read read = {identity.spiffe_id, identity.serial, 0};
  for (size_t at = 0; (at = trusted.find("BEGIN", at)) != trusted.npos; ++at) {
    ++read.authorities;
  }
  return read;
}

TEST(CertificatesTest, ThreeRotationsReplaceAllThereIs) {
  std::string directory = testing::TempDir() + "/certificates_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const auto certificates = Certificates::Make(directory, absl::Minutes(1));
  ASSERT_TRUE(certificates.ok()) << certificates.status();
  ASSERT_TRUE((*certificates)->Add("cart-1").ok());
  const std::string cart = directory + "/cart-1";
  ASSERT_TRUE(WriteWhole(cart + "/server.yaml",
                         "identity: {files: {cert: tls.crt, key: tls.key, ca: "
                         "ca.crt}}\n")
                  .ok());

  std::vector<std::string> serials = {ReadIdentity(cart).serial};
  const std::string first_authority = ReadFile(cart + "/ca.crt");
  std::vector<int> authorities;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((*certificates)->withdrawn(), 0u);
    ASSERT_TRUE((*certificates)->Rotate().ok());
    const Read read = ReadIdentity(cart);
    EXPECT_EQ(read.spiffe_id, "spiffe://shop/cart");
    authorities.push_back(read.authorities);
    EXPECT_THAT(serials, Not(testing::Contains(read.serial)));
    serials.push_back(read.serial);
  }
  EXPECT_THAT(authorities, ElementsAre(2, 2, 1));
  EXPECT_EQ((*certificates)->withdrawn(), 1u);
  EXPECT_NE(ReadFile(cart + "/ca.crt"), first_authority);
}

TEST(FormatTest, OnlyAllIsAHundredPercent) {
  EXPECT_EQ(FormatShare(1), "100.00%");
  EXPECT_EQ(FormatShare(1 - 1.0 / 20000), "99.99%");
  EXPECT_EQ(FormatShare(0.9376), "93.76%");
  EXPECT_EQ(FormatMilliseconds(7.34), "7.3 ms");
  EXPECT_EQ(FormatMilliseconds(1000.4), "1.00 s");
}

TEST(FormatTest, MetricsAreAJsonObject) {
  EXPECT_EQ(MetricsJson({{"a.b", 1}, {"c", 0.25}}),
            "{\n  \"a.b\": 1,\n  \"c\": 0.25\n}\n");
}

TEST(ReportTest, NeedsNothingFromOutside) {
  ArmLog mesh = QuietLog("mesh");
  mesh.rotations = {2.01, 4.02};
  const std::string html =
      ReportHtml({QuietLog("bare"), mesh}, 300, "{\"a\": \"<b>\"}",
                 "services: {}", "server: {}");
  EXPECT_THAT(html, Not(HasSubstr("http")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("nan")));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;")) << "texts are escaped";
  EXPECT_THAT(html, HasSubstr("class='mark'"));
  EXPECT_THAT(html, HasSubstr("class='mesh notch'"));
  EXPECT_THAT(html, Not(HasSubstr("class='bare notch'")));
}

TEST(EndpointsFileTest, IsReadAsItWasWritten) {
  EXPECT_THAT(ParseEndpoints(FormatEndpoints({"127.0.0.1:1", "[::1]:2"})),
              ElementsAre("127.0.0.1:1", "[::1]:2"));
  EXPECT_THAT(ParseEndpoints(FormatEndpoints({})), IsEmpty());
}

TEST(ProcessTest, SaysItsPort) {
  const auto process = Process::Start(
      {"/bin/sh", "-c", "echo port 4711; exec sleep 100"}, "/dev/null", true);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ((*process)->port(), 4711);
  EXPECT_FALSE((*process)->Ended());
}

TEST(ProcessTest, IsAnErrorWhenItEndsBeforeItSaysItsPort) {
  EXPECT_THAT(
      Process::Start({"/bin/false"}, "/dev/null", true).status().ToString(),
      HasSubstr("/bin/false ended before"));
}

TEST(ProcessTest, IsAnErrorWhenItSaysSomethingElse) {
  EXPECT_THAT(Process::Start({"/bin/echo", "hello"}, "/dev/null", true)
                  .status()
                  .ToString(),
              HasSubstr("hello"));
}

}  // namespace
}  // namespace shop
