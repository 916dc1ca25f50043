#include "mesh/front/identity_holder.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/authority.h"
#include "mesh/options/security.h"
#include "mesh/security/identity.h"
#include "mesh/security/source_test_util.h"
#include "mesh/service/service_test_util.h"
#include "mesh/telemetry/events.h"
#include "mesh/telemetry/observer.h"

namespace mesh::front {
namespace {

using security::IdentityNotice;
using security::IdentitySource;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// Remembers what an operator is told.
class Told final : public telemetry::Observer {
 public:
  void OnIdentity(const telemetry::IdentityEvent& event) override {
    events.push_back(absl::StrCat(event.identity, " ", event.kind));
    last_text = std::string(event.text);
  }
  std::vector<std::string> events;
  std::string last_text;
};

class IdentityHolderTest : public ::testing::Test {
 protected:
  // One that ends so much later than now, by the wall clock of the runtime.
  security::IdentityPtr Identity(
      absl::Duration lives, const std::vector<std::string>& crls = {}) const {
    const absl::Time now = Now();
    security::IdentityBytes bytes = security::BytesOf(
        security::SvidOf(root_, now, now + lives), root_.root_pem());
    bytes.crls = crls;
    return *security::Identity::Make(std::move(bytes), now);
  }
  absl::Time Now() const { return fake_.clock.Now() + service::kWallIsAhead; }

  std::shared_ptr<IdentityHolder> Hold(
      std::shared_ptr<IdentitySource> source,
      std::shared_ptr<IdentityHolder> before = nullptr) {
    auto holder = Make(std::move(source), std::move(before));
    holder->Start();
    return holder;
  }
  std::shared_ptr<IdentityHolder> Make(std::shared_ptr<IdentitySource> source,
                                       std::shared_ptr<IdentityHolder> before) {
    return IdentityHolder::Make("process", fake_.runtime, generations_,
                                std::move(source), absl::Seconds(10),
                                std::move(before));
  }
  std::vector<std::string> TakeEvents() {
    return std::exchange(told_->events, {});
  }

  const std::shared_ptr<Told> told_ = std::make_shared<Told>();
  service::FakeRuntime fake_{{told_}};
  const certs::Authority root_ = security::RootAt(Now(), "root");
  const std::shared_ptr<GenerationCounter> generations_ =
      std::make_shared<GenerationCounter>();
};

TEST_F(IdentityHolderTest, AlarmsAreRaisedWhateverTheSourceIs) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60)));
  const auto holder = Hold(source);
  fake_.loop.Advance(absl::Minutes(39));
  EXPECT_THAT(TakeEvents(), IsEmpty());
  fake_.loop.Advance(absl::Minutes(1));
  EXPECT_THAT(TakeEvents(), ElementsAre("process third_left"));
  EXPECT_THAT(told_->last_text,
              StartsWith("the identity that is in force has not been renewed: "
                         "less than a third of its lifetime is left; "));
  EXPECT_EQ(fake_.log.back(), "identity process: " + told_->last_text);
  fake_.loop.Advance(absl::Minutes(14));
  EXPECT_THAT(TakeEvents(), ElementsAre("process tenth_left"));
  fake_.loop.Advance(absl::Minutes(6));
  EXPECT_THAT(TakeEvents(), ElementsAre("process expired"));
  EXPECT_EQ(holder->Metrics().error, "") << "it is no refusal";
  fake_.loop.Advance(absl::Minutes(10));
  EXPECT_THAT(TakeEvents(), IsEmpty());
  // With the next one they begin anew.
  source->Set(Identity(absl::Minutes(60)));
  fake_.loop.Advance(absl::Minutes(39));
  EXPECT_THAT(TakeEvents(), IsEmpty());
  fake_.loop.Advance(absl::Minutes(1));
  EXPECT_THAT(TakeEvents(), ElementsAre("process third_left"));
}

TEST_F(IdentityHolderTest, ARenewalInTimeRaisesNoAlarm) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60)));
  const auto holder = Hold(source);
  for (int i = 0; i < 5; ++i) {
    fake_.loop.Advance(absl::Minutes(30));
    source->Set(Identity(absl::Minutes(60)));
  }
  EXPECT_THAT(TakeEvents(), IsEmpty());
  fake_.loop.Run();
  EXPECT_LE(fake_.loop.timers(), 2u) << "one look, and one that is over";
}

TEST_F(IdentityHolderTest, AnIdentityThatNeverEndsIsNotWatched) {
  const auto holder = Hold(std::make_shared<IdentitySource::Static>(
      *security::Identity::Make({}, Now())));
  fake_.loop.Run();
  EXPECT_EQ(fake_.loop.timers(), 0u);
}

TEST_F(IdentityHolderTest, AWallClockThatJumpsIsNoticed) {
  const auto holder = Hold(
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60))));
  fake_.loop.Run();
  fake_.clock.Advance(absl::Minutes(50));  // No timer has run.
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(TakeEvents(), ElementsAre("process third_left"));
}

TEST_F(IdentityHolderTest, WhatAnotherSourceLeavesIsWatchedOn) {
  auto old = Hold(
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60))));
  fake_.loop.Advance(absl::Minutes(40));
  EXPECT_THAT(TakeEvents(), ElementsAre("process third_left"));
  const auto holder =
      Hold(std::make_shared<IdentitySource::Static>(), std::move(old));
  fake_.loop.Advance(absl::Minutes(13));
  EXPECT_THAT(TakeEvents(), IsEmpty()) << "it was said";
  fake_.loop.Advance(absl::Minutes(1));
  EXPECT_THAT(TakeEvents(), ElementsAre("process tenth_left"));
}

TEST_F(IdentityHolderTest, AnotherSourceBeginsWithWhatTheLastOneSaidBeforeIt) {
  const certs::Authority gone = security::RootAt(Now(), "gone");
  const auto trusting = [&](const std::string& bundle) {
    return *security::Identity::Make(
        security::BytesOf(
            security::SvidOf(root_, Now(), Now() + absl::Hours(1)), bundle),
        Now());
  };
  const std::string both = root_.root_pem() + gone.root_pem();
  const auto source = std::make_shared<IdentitySource::Static>(trusting(both));
  const auto old = Hold(source);
  const auto holder = Make(std::make_shared<IdentitySource::Static>(), old);
  EXPECT_EQ(holder->state().identity, nullptr);
  const security::IdentityPtr after = trusting(root_.root_pem());
  source->Set(after);
  const uint64_t withdrawn = old->state().withdrawn_before;
  EXPECT_NE(withdrawn, 0u);
  holder->Start();
  EXPECT_EQ(holder->state().identity, after);
  EXPECT_EQ(holder->state().withdrawn_before, withdrawn);
  EXPECT_GT(holder->state().generation, withdrawn);
  // The users of both would hear first of this, and then of what was before.
  source->Set(trusting(both));
  EXPECT_EQ(old->state().identity, after);
}

TEST_F(IdentityHolderTest, ListsAreRequiredOnceItsSourceHadAny) {
  constexpr auto kDefault = options::CrlMode::kDefault;
  constexpr auto kRequire = options::CrlMode::kRequire;
  constexpr auto kIfPresent = options::CrlMode::kIfPresent;
  const std::string list =
      *root_.MakeCrl({Now() - absl::Hours(1), Now() + absl::Hours(1)});
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60)));
  const auto holder = Hold(source);
  EXPECT_EQ(CrlModeOf(kDefault, holder->state()), kDefault);
  source->Set(Identity(absl::Minutes(60), {list}));
  EXPECT_EQ(CrlModeOf(kDefault, holder->state()), kRequire);
  const security::IdentityPtr none = Identity(absl::Minutes(60));
  source->Set(none);
  EXPECT_EQ(CrlModeOf(kDefault, holder->state()), kRequire);
  EXPECT_EQ(CrlModeOf(kIfPresent, holder->state()), kIfPresent);
  // Another source begins anew, with its own first identity.
  const auto other = std::make_shared<IdentitySource::Static>();
  const auto next = Hold(other, holder);
  EXPECT_EQ(CrlModeOf(kDefault, next->state()), kRequire);
  other->Set(none);
  EXPECT_EQ(CrlModeOf(kDefault, next->state()), kDefault);
}

TEST_F(IdentityHolderTest, NothingIsHeardOrSaidBeforeTheStart) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity(absl::Minutes(60)));
  auto holder = IdentityHolder::Make("process", fake_.runtime, generations_,
                                     source, absl::Seconds(10));
  fake_.loop.Advance(absl::Minutes(60));
  EXPECT_EQ(holder->state().identity, nullptr);
  EXPECT_TRUE(holder->state().missing.ok());
  EXPECT_THAT(fake_.log, IsEmpty());
  holder->Start();
  EXPECT_NE(holder->state().identity, nullptr);
  const uint64_t generation = holder->state().generation;
  holder->Start();
  source->Set(Identity(absl::Minutes(60)));
  EXPECT_EQ(holder->state().generation, generation + 1) << "heard once";
}

// Speaks inside of Subscribe(), as sources with a lock of their own do.
class SpeaksAtOnce final : public IdentitySource {
 public:
  void Subscribe(std::weak_ptr<security::IdentityListener> listener) override {
    const auto there = listener.lock();
    there->OnIdentity(identity);
    there->OnNotice({IdentityNotice::Kind::kNoAnswer, "the agent is away."});
  }
  security::IdentityPtr identity;
};

TEST_F(IdentityHolderTest, TheApplicationIsToldWhenTheSourceHasReturned) {
  const auto source = std::make_shared<SpeaksAtOnce>();
  source->identity = Identity(absl::Minutes(60));
  const auto holder = Hold(source);
  EXPECT_EQ(holder->Metrics().error, "the agent is away.");
  EXPECT_THAT(fake_.log, IsEmpty());
  EXPECT_THAT(told_->events, IsEmpty());
  fake_.loop.Run();
  EXPECT_THAT(fake_.log, ElementsAre(HasSubstr("is in force"),
                                     "identity process: the agent is away."));
  EXPECT_THAT(TakeEvents(), ElementsAre("process no_answer"));
}

}  // namespace
}  // namespace mesh::front
