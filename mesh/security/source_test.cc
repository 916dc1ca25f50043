#include "mesh/security/source.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/security/expiry.h"
#include "mesh/security/source_test_util.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

IdentityPtr MakeIdentity(const certs::Authority& root, absl::Duration life) {
  return *Identity::Make(BytesOf(SvidOf(root, kNow, kNow + life), root.pem()),
                         kNow);
}

TEST(StaticSourceTest, PublishesWhatIsSetToAll) {
  const certs::Authority root = RootAt(kNow, "root");
  const IdentityPtr first = MakeIdentity(root, absl::Hours(1));
  const IdentityPtr second = MakeIdentity(root, absl::Hours(1));
  IdentitySource::Static source;
  const auto early = std::make_shared<Heard>();
  source.Subscribe(early);
  EXPECT_THAT(early->identities(), testing::IsEmpty());
  source.Set(first);
  const auto late = std::make_shared<Heard>();
  source.Subscribe(late);
  source.Set(second);
  EXPECT_THAT(early->identities(), testing::ElementsAre(first, second));
  EXPECT_THAT(late->identities(), testing::ElementsAre(first, second));
}

TEST(StaticSourceTest, OneThatIsMadeWithAnIdentityHasIt) {
  const IdentityPtr identity =
      MakeIdentity(RootAt(kNow, "root"), absl::Hours(1));
  IdentitySource::Static source(identity);
  const auto heard = std::make_shared<Heard>();
  source.Subscribe(heard);
  EXPECT_THAT(heard->identities(), testing::ElementsAre(identity));
}

TEST(StaticSourceTest, WhoIsGoneHearsNothing) {
  const IdentityPtr identity =
      MakeIdentity(RootAt(kNow, "root"), absl::Hours(1));
  IdentitySource::Static source;
  auto heard = std::make_shared<Heard>();
  const std::weak_ptr<Heard> gone = heard;
  source.Subscribe(heard);
  heard.reset();
  EXPECT_TRUE(gone.expired()) << "the source keeps nobody alive";
  source.Set(identity);
  source.Subscribe(gone);
}

TEST(StaticSourceTest, AllHearTheSameOrderFromManyThreads) {
  const certs::Authority root = RootAt(kNow, "root");
  std::vector<IdentityPtr> made;
  made.reserve(4);
  for (int i = 0; i < 4; ++i)
    made.push_back(MakeIdentity(root, absl::Hours(1)));
  IdentitySource::Static source;
  const auto one = std::make_shared<Heard>();
  const auto other = std::make_shared<Heard>();
  source.Subscribe(one);
  source.Subscribe(other);
  std::vector<std::thread> threads;
  for (const IdentityPtr& identity : made) {
    threads.emplace_back([&source, identity] {
      for (int i = 0; i < 100; ++i) source.Set(identity);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(one->identities().size(), 400);
  EXPECT_EQ(one->identities(), other->identities());
}

TEST(IdentityFeedTest, ALateListenerHearsWhatIsNotOver) {
  const IdentityPtr identity =
      MakeIdentity(RootAt(kNow, "root"), absl::Hours(1));
  const IdentityNotice bad{Kind::kBad, "bad"};
  const IdentityNotice gone{Kind::kUnreadable, "gone"};
  const IdentityNotice third{Kind::kThirdLeft, "third"};
  const auto hears = [](IdentityFeed* feed) {
    const auto heard = std::make_shared<Heard>();
    feed->Subscribe(heard);
    return heard->notices();
  };
  IdentityFeed feed;
  feed.Notify(bad);
  EXPECT_THAT(hears(&feed), testing::ElementsAre(bad));
  feed.Publish(identity);
  EXPECT_THAT(hears(&feed), testing::IsEmpty());
  feed.Notify(bad);
  feed.Notify(third);
  feed.Notify(gone);
  EXPECT_THAT(hears(&feed), testing::ElementsAre(third, gone));
  feed.Notify({Kind::kRecovered, "well"});
  EXPECT_THAT(hears(&feed), testing::ElementsAre(third));
  for (int i = 0; i < 1000; ++i) feed.Notify({Kind::kWarning, "again"});
  EXPECT_LT(hears(&feed).size(), 100) << "it does not grow for ever";
}

TEST(IdentityNoticeTest, EachKindHasAName) {
  EXPECT_EQ(IdentityNoticeName(Kind::kUnreadable), "unreadable");
  EXPECT_EQ(IdentityNoticeName(Kind::kWarning), "warning");
  EXPECT_TRUE(IsRefusal(Kind::kNoAnswer));
  EXPECT_FALSE(IsRefusal(Kind::kRecovered));
}

TEST(WarningsOfTest, TellsOfABundleThatKeepsNothing) {
  const certs::Authority a = RootAt(kNow, "a");
  const certs::Authority b = RootAt(kNow, "b");
  const certs::Issued leaf = SvidOf(a, kNow, kNow + absl::Hours(1));
  const auto make = [&](const std::string& bundle) {
    return *Identity::Make(BytesOf(leaf, bundle), kNow);
  };
  const IdentityPtr only_a = make(a.pem());
  const IdentityPtr both = make(b.pem() + a.pem());
  EXPECT_THAT(WarningsOf(nullptr, *only_a), testing::IsEmpty());
  EXPECT_THAT(WarningsOf(only_a.get(), *both), testing::IsEmpty());
  EXPECT_THAT(WarningsOf(both.get(), *only_a), testing::IsEmpty());
  const auto swapped = WarningsOf(only_a.get(), *make(b.pem()));
  ASSERT_EQ(swapped.size(), 2);
  EXPECT_THAT(swapped[0].text, testing::HasSubstr("does not lead to"));
  EXPECT_EQ(swapped[1].text,
            "the bundle \"\" has none of the authorities that it had.");
}

TEST(WarningsOfTest, TellsOfListsThatAreGone) {
  const certs::Authority root = RootAt(kNow, "root");
  IdentityBytes bytes =
      BytesOf(SvidOf(root, kNow, kNow + absl::Hours(1)), root.pem());
  const IdentityPtr without = *Identity::Make(bytes, kNow);
  bytes.crls = {*root.MakeCrl({kNow, kNow + absl::Hours(1)})};
  const IdentityPtr with = *Identity::Make(bytes, kNow);
  EXPECT_THAT(WarningsOf(without.get(), *with), testing::IsEmpty());
  const auto gone = WarningsOf(with.get(), *without);
  ASSERT_EQ(gone.size(), 1);
  EXPECT_EQ(gone[0].kind, Kind::kWarning);
  EXPECT_EQ(gone[0].text,
            "the revocation lists are gone. Until there are some again, peers "
            "are refused where crl is not if_present.");
}

TEST(WarningsOfTest, TellsOnceOfWhatStays) {
  const certs::Authority a = RootAt(kNow, "a");
  const certs::Authority b = RootAt(kNow, "b");
  const auto make = [&] {
    return *Identity::Make(
        BytesOf(SvidOf(a, kNow, kNow + absl::Hours(1)), b.pem()), kNow);
  };
  const IdentityPtr first = make();
  EXPECT_EQ(WarningsOf(nullptr, *first).size(), 1);
  EXPECT_THAT(WarningsOf(first.get(), *make()), testing::IsEmpty());
}

TEST(ExpiryAlarmTest, IsRaisedAtAThirdATenthAndTheEnd) {
  ExpiryAlarm alarm;
  EXPECT_EQ(alarm.next(), absl::InfiniteFuture());
  EXPECT_FALSE(alarm.Due(absl::InfiniteFuture()).has_value());
  alarm.Set(*MakeIdentity(RootAt(kNow, "root"), absl::Minutes(30)));
  EXPECT_EQ(alarm.next(), kNow + absl::Minutes(20));
  EXPECT_FALSE(alarm.Due(kNow + absl::Seconds(1199)).has_value());
  const auto third = alarm.Due(kNow + absl::Minutes(20));
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->kind, Kind::kThirdLeft);
  EXPECT_EQ(third->text,
            "the identity that is in force has not been renewed: less than a "
            "third of its lifetime is left; it ends at 2027-01-15T08:30:00Z, "
            "and now it is 2027-01-15T08:20:00Z.");
  EXPECT_FALSE(alarm.Due(kNow + absl::Minutes(21)).has_value()) << "said";
  EXPECT_EQ(alarm.next(), kNow + absl::Minutes(27));
  EXPECT_EQ(alarm.Due(kNow + absl::Minutes(28))->kind, Kind::kTenthLeft);
  EXPECT_EQ(alarm.next(), kNow + absl::Minutes(30));
  EXPECT_EQ(alarm.Due(kNow + absl::Minutes(30))->kind, Kind::kExpired);
  EXPECT_EQ(alarm.next(), absl::InfiniteFuture());
}

TEST(ExpiryAlarmTest, SaysTheLastOfWhatItMissedAndBeginsAnewWithTheNext) {
  const certs::Authority root = RootAt(kNow, "root");
  ExpiryAlarm alarm;
  alarm.Set(*MakeIdentity(root, absl::Minutes(30)));
  EXPECT_EQ(alarm.Due(kNow + absl::Hours(1))->kind, Kind::kExpired);
  EXPECT_FALSE(alarm.Due(kNow + absl::Hours(2)).has_value());
  alarm.Set(*MakeIdentity(root, absl::Hours(3)));
  EXPECT_EQ(alarm.next(), kNow + absl::Hours(2));
}

TEST(ExpiryAlarmTest, AnIdentityWithoutALeafNeverEnds) {
  IdentityBytes bytes;
  bytes.bundles[""] = RootAt(kNow, "root").pem();
  ExpiryAlarm alarm;
  alarm.Set(**Identity::Make(std::move(bytes), kNow));
  EXPECT_EQ(alarm.next(), absl::InfiniteFuture());
}

}  // namespace
}  // namespace mesh::security
