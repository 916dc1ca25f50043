#include "mesh/discovery/feed.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "mesh/discovery/fake_discovery_test_util.h"
#include "mesh/testing/fake_loop.h"

namespace mesh::discovery {
namespace {

class FeedTest : public ::testing::Test, protected Feed::Listener {
 protected:
  FeedTest() {
    control_->Bind(owner_);
    Feed::Seams seams;
    seams.control = control_;
    seams.clock = &clock_;
    seams.make_resolver = discovery_.Maker();
    seams.log = [this](LogSeverity, absl::string_view line) {
      log_.emplace_back(line);
    };
    feed_.emplace("cart", std::move(seams), static_cast<Feed::Listener*>(this));
  }

  void OnEndpoints(const cluster::EndpointSetPtr& set) override {
    sizes_.push_back(set->endpoints.size());
  }
  void OnNoEndpoints() override { errors_.push_back(feed_->error()); }

  testing::FakeClock clock_;
  testing::FakeLoop loop_{&clock_};
  std::shared_ptr<int> owner_ = std::make_shared<int>(0);
  const std::shared_ptr<base::OwnedScheduler> control_ =
      std::make_shared<base::OwnedScheduler>(&loop_);
  FakeDiscovery discovery_;
  std::vector<std::string> log_;
  std::vector<size_t> sizes_;         // Sizes of the sets that were handed on.
  std::vector<absl::Status> errors_;  // Said where there was no set.
  std::optional<Feed> feed_;
};

TEST_F(FeedTest, HandsOnWhatIsResolved) {
  feed_->Start({});
  EXPECT_FALSE(feed_->resolved());
  discovery_.Report({"a:1", "b:1"});
  EXPECT_TRUE(feed_->resolved());
  discovery_.Report({"a:1"});
  EXPECT_EQ(sizes_, (std::vector<size_t>{2, 1}));
  EXPECT_EQ(feed_->stats().updates, 2);
  EXPECT_TRUE(log_.empty());
}

TEST_F(FeedTest, AnErrorBeforeTheFirstSetIsSaid) {
  feed_->Start({});
  discovery_.ReportError(absl::NotFoundError("no such name"));
  ASSERT_EQ(errors_.size(), 1);
  EXPECT_EQ(errors_[0], absl::NotFoundError("no such name"));
  EXPECT_FALSE(feed_->resolved());
  EXPECT_EQ(feed_->stats().failures, 1);
  EXPECT_EQ(feed_->stats().error, "no such name");
  EXPECT_EQ(log_,
            (std::vector<std::string>{"cart: discovery failed: no such name"}));
}

TEST_F(FeedTest, AnErrorAfterASetChangesNothing) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.ReportError(absl::UnavailableError("down"));
  EXPECT_TRUE(errors_.empty());
  EXPECT_EQ(sizes_, (std::vector<size_t>{1}));
  EXPECT_TRUE(feed_->resolved());
  EXPECT_EQ(feed_->error(), absl::UnavailableError("down"));
  EXPECT_EQ(
      log_,
      (std::vector<std::string>{
          "cart: discovery failed, and the last endpoints are kept: down"}));
}

TEST_F(FeedTest, ASetEndsAnError) {
  feed_->Start({});
  discovery_.ReportError(absl::UnavailableError("down"));
  discovery_.Report({"a:1"});
  EXPECT_TRUE(feed_->error().ok());
  EXPECT_EQ(feed_->stats().error, "");
  EXPECT_EQ(feed_->stats().failures, 1);
}

TEST_F(FeedTest, AnEmptySetIsDoubtedForAWhile) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  EXPECT_EQ(sizes_, (std::vector<size_t>{1}));
  EXPECT_EQ(feed_->stats().doubted, 1);
  ASSERT_EQ(log_.size(), 1);
  loop_.Advance(UpdateFilter::Standing() - absl::Milliseconds(1));
  EXPECT_EQ(sizes_.size(), 1);
  loop_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(sizes_, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(loop_.timers(), 0);
}

TEST_F(FeedTest, EndpointsThatComeBackEndTheDoubt) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  EXPECT_EQ(loop_.timers(), 1);
  discovery_.Report({"a:1"});
  EXPECT_EQ(loop_.timers(), 0);
  loop_.Advance(absl::Minutes(1));
  EXPECT_EQ(sizes_, (std::vector<size_t>{1, 1}));
}

TEST_F(FeedTest, AnErrorInBetweenBeginsTheDoubtAnew) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  discovery_.ReportError(absl::UnavailableError("down"));
  loop_.Advance(absl::Minutes(1));
  EXPECT_EQ(sizes_, (std::vector<size_t>{1}));
}

TEST_F(FeedTest, StartingAnewKeepsThatThereIsASet) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.ReportError(absl::UnavailableError("down"));
  feed_->Start({});
  EXPECT_EQ(discovery_.made(), 2);
  EXPECT_TRUE(feed_->resolved());
  EXPECT_TRUE(feed_->error().ok());
  // What the new source says first is not compared with the old one's set.
  discovery_.Report({});
  EXPECT_EQ(sizes_, (std::vector<size_t>{1, 0}));
}

TEST_F(FeedTest, StoppingForgetsAllAndEndsTheDoubt) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  feed_->Stop();
  EXPECT_FALSE(discovery_.running());
  EXPECT_FALSE(feed_->resolved());
  EXPECT_EQ(loop_.timers(), 0);
  feed_->Refresh();
  EXPECT_EQ(discovery_.refreshes(), 0);
  // What was counted is kept.
  EXPECT_EQ(feed_->stats().updates, 2);
}

TEST_F(FeedTest, ADoubtThatEndsWhileTheFeedStopsIsNotApplied) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  // The timer is due, and the stop comes first.
  loop_.Post([this] { feed_->Stop(); });
  loop_.Advance(UpdateFilter::Standing());
  EXPECT_EQ(sizes_, (std::vector<size_t>{1}));
}

TEST_F(FeedTest, RefreshIsHandedOn) {
  feed_->Refresh();
  feed_->Start({});
  feed_->Refresh();
  EXPECT_EQ(discovery_.refreshes(), 1);
}

TEST_F(FeedTest, NothingIsLeftOfOneThatIsGone) {
  feed_->Start({});
  discovery_.Report({"a:1"});
  discovery_.Report({});
  feed_.reset();
  EXPECT_FALSE(discovery_.running());
  EXPECT_EQ(loop_.timers(), 0);
}

}  // namespace
}  // namespace mesh::discovery
