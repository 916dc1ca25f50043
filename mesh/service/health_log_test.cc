#include "mesh/service/health_log.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

class HealthLogTest : public ::testing::Test {
 protected:
  HealthLogTest() {
    cluster::Endpoint description;
    description.address = "a:1";
    endpoint_.emplace(description);
    change_.endpoint = &*endpoint_;
    change_.from = cluster::Health::kHealthy;
    change_.to = cluster::Health::kEjected;
    change_.cause = cluster::HealthCause::kDraining;
  }
  void Note(int times) {
    for (int i = 0; i < times; ++i) log_.Note(change_);
    control_.loop.Run();
  }

  FakeControl control_;
  std::optional<cluster::LiveEndpoint> endpoint_;
  resilience::HealthChange change_;
  std::vector<std::string> lines_;
  HealthLog log_{"cart", control_.scheduler, &control_.clock,
                 [this](LogSeverity severity, absl::string_view line) {
                   EXPECT_EQ(severity, LogSeverity::kInfo);
                   lines_.emplace_back(line);
                 }};
};

TEST_F(HealthLogTest, SaysWhatHasChangedAndWhy) {
  log_.Note(change_);
  EXPECT_TRUE(lines_.empty()) << "not on the thread that tells";
  control_.loop.Run();
  EXPECT_EQ(lines_, (std::vector<std::string>{
                        "cart: a:1 was healthy and is ejected: draining."}));
}

TEST_F(HealthLogTest, LeavesOutWhatIsTooMuch) {
  Note(HealthLog::kMost + 5);
  EXPECT_EQ(lines_.size(), HealthLog::kMost);
  control_.clock.Advance(absl::Milliseconds(999));
  Note(1);
  EXPECT_EQ(lines_.size(), HealthLog::kMost);
  control_.clock.Advance(absl::Milliseconds(1));
  Note(1);
  ASSERT_EQ(lines_.size(), HealthLog::kMost + 2);
  EXPECT_EQ(lines_[HealthLog::kMost],
            "cart: 6 more changes of health were not logged.");
}

TEST_F(HealthLogTest, SaysNothingOfNothingLeftOut) {
  Note(HealthLog::kMost);
  control_.clock.Advance(absl::Seconds(1));
  Note(1);
  EXPECT_EQ(lines_.size(), HealthLog::kMost + 1);
}

TEST_F(HealthLogTest, SaysNothingOnceTheServiceIsGone) {
  log_.Note(change_);
  control_.owner.reset();
  log_.Note(change_);
  control_.loop.Run();
  EXPECT_TRUE(lines_.empty());
}

}  // namespace
}  // namespace mesh::service
