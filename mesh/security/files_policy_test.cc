#include "mesh/security/files_policy.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/security/source_test_util.h"

namespace mesh::security {
namespace {

using Change = FilesPolicy::Change;
using Kind = IdentityNotice::Kind;

const absl::Time kWall = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kHour = absl::Hours(1);

// Three files (chain, key, bundle) in memory, and a policy that watches them.
class FilesPolicyTest : public testing::Test {
 protected:
  FilesPolicyTest()
      : root_(RootAt(kWall, "root")),
        first_(SvidOf(root_, kWall, kWall + kHour)) {
    Put(0, first_.chain);
    Put(1, first_.key);
    Put(2, root_.pem());
  }

  // Each change has a stamp of its own.
  void Put(size_t file, const std::string& text) {
    text_[file] = text;
    std::get<1>(stamps_[file]) = ++inode_;
  }
  // As inotify tells of it.
  void Rename(size_t file, const std::string& text) {
    Put(file, text);
    policy_.OnChange(file, Change::kReplaced, stamps_[file], now_);
  }
  void Write(size_t file, const std::string& text) {
    Put(file, text);
    policy_.OnChange(file, Change::kWritten, stamps_[file], now_);
  }

  void Pass(absl::Duration by) {
    now_.steady += by;
    now_.wall += by;
  }

  // What a shell does at once. Returns the serial number of what is published;
  // empty: nothing.
  std::string Go() {
    FilesPolicy::Decision decision;
    if (policy_.WantsRead(now_)) {
      ++reads_;
      FilesPolicy::Contents contents;
      contents.stamps = stamps_;
      if (readable_) {
        IdentityBytes bytes;
        bytes.chain = text_[0];
        bytes.key = text_[1];
        bytes.bundles[""] = text_[2];
        contents.bytes = std::move(bytes);
      } else {
        contents.bytes = absl::UnavailableError("it is locked.");
      }
      decision = policy_.OnRead(std::move(contents), now_);
    }
    for (FilesPolicy::Decision* one : {&decision, &later_}) {
      if (one == &later_) later_ = policy_.OnTime(now_);
      for (IdentityNotice& notice : one->notices) {
        notices_.push_back(std::move(notice));
      }
    }
    return decision.publish == nullptr ? "" : decision.publish->serial();
  }

  // Lets time pass as a shell does: it acts whenever the policy wants. Returns
  // what was published last.
  std::string Run(absl::Duration by) {
    const absl::Time until = now_.steady + by;
    std::string published;
    while (now_.steady < until) {
      const absl::Time next = std::min(until, policy_.Next(now_));
      Pass(next - now_.steady);
      policy_.OnLook(stamps_, now_);
      const std::string serial = Go();
      if (!serial.empty()) published = serial;
    }
    return published;
  }

  // The first read, and the second one that what was new gets.
  void Start() {
    EXPECT_EQ(Go(), first_.serial);
    policy_.OnLook(stamps_, now_);
    EXPECT_EQ(Go(), "");
    reads_ = 0;
  }

  std::vector<Kind> Told() {
    std::vector<Kind> kinds;
    for (const IdentityNotice& notice : notices_) kinds.push_back(notice.kind);
    notices_.clear();
    return kinds;
  }

  const certs::Authority root_;
  const certs::Issued first_;
  FilesPolicy policy_{3, "a, b, c"};
  Moment now_{absl::FromUnixSeconds(1000), kWall};
  std::vector<std::string> text_{3};
  std::vector<FileStamp> stamps_{3};
  uint64_t inode_ = 0;
  bool readable_ = true;
  int reads_ = 0;
  std::vector<IdentityNotice> notices_;
  FilesPolicy::Decision later_;
};

TEST_F(FilesPolicyTest, PublishesOnceWhatDoesNotChange) {
  EXPECT_EQ(Go(), first_.serial);
  EXPECT_TRUE(policy_.trouble().ok());
  EXPECT_EQ(Run(absl::Seconds(10)), "");
  EXPECT_EQ(reads_, 2) << "what was new is read once more, and then no more";
  EXPECT_THAT(Told(), testing::IsEmpty());
}

TEST_F(FilesPolicyTest, ReadsAtOnceWhatWasRenamed) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Put(1, next.key);
  Rename(0, next.chain);
  policy_.OnChange(1, Change::kReplaced, stamps_[1], now_);
  EXPECT_EQ(Go(), next.serial);
}

TEST_F(FilesPolicyTest, ReadsWhatIsWrittenInPlaceWhenItIsStill) {
  Start();
  const certs::Authority other = RootAt(kWall, "other");
  // A bundle that is cut between two certificates looks whole.
  Write(2, root_.pem());
  Pass(absl::Milliseconds(50));
  Write(2, root_.pem() + other.pem());
  Pass(absl::Milliseconds(99));
  EXPECT_FALSE(policy_.WantsRead(now_));
  EXPECT_EQ(policy_.Next(now_), now_.steady + absl::Milliseconds(1));
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(Go(), first_.serial);
  EXPECT_EQ(reads_, 1);
}

TEST_F(FilesPolicyTest, ALookFindsWhatNothingTellsOf) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Put(0, next.chain);
  Put(1, next.key);
  EXPECT_EQ(Run(absl::Seconds(1)), "") << "it is seen after a second";
  EXPECT_EQ(Run(absl::Milliseconds(100)), next.serial);
}

TEST_F(FilesPolicyTest, WhatIsWrittenAfterALookIsWaitedFor) {
  Start();
  // The look finds all files but the bundle. Then its writer comes to the
  // bundle, or to a file once more, and nothing tells of it.
  for (const size_t file : {2, 1}) {
    SCOPED_TRACE(file);
    const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
    Put(0, next.chain);
    Put(1, next.key);
    policy_.OnLook(stamps_, now_);
    Pass(absl::Milliseconds(50));
    Put(file, text_[file]);
    Pass(absl::Milliseconds(50));
    EXPECT_EQ(Go(), "") << "it may be half";
    EXPECT_TRUE(policy_.trouble().ok()) << "it says nothing of the identity";
    Pass(absl::Milliseconds(99));
    EXPECT_EQ(Go(), "");
    EXPECT_EQ(policy_.Next(now_), now_.steady + absl::Milliseconds(1));
    Pass(absl::Milliseconds(1));
    EXPECT_EQ(Go(), next.serial);
  }
}

TEST_F(FilesPolicyTest, WhatIsStillWrittenHoldsBackTheWholeUnit) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Write(2, root_.pem());
  Rename(0, next.chain);
  Rename(1, next.key);
  EXPECT_EQ(Go(), "");
  EXPECT_EQ(reads_, 0);
  Pass(absl::Milliseconds(100));
  EXPECT_EQ(Go(), next.serial);
}

TEST_F(FilesPolicyTest, ARenameEndsTheWaitForAWriter) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Write(0, "half");
  Rename(1, next.key);
  EXPECT_EQ(Go(), "");
  Rename(0, next.chain);
  EXPECT_EQ(Go(), next.serial);
}

TEST_F(FilesPolicyTest, ATornPairIsSilentFor2Seconds) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Rename(1, next.key);
  EXPECT_EQ(Go(), "");
  EXPECT_FALSE(policy_.trouble().ok());
  EXPECT_EQ(Run(absl::Milliseconds(1999)), "");
  EXPECT_THAT(Told(), testing::IsEmpty());
  Rename(0, next.chain);
  EXPECT_EQ(Go(), next.serial);
  EXPECT_EQ(Run(absl::Seconds(5)), "");
  EXPECT_THAT(Told(), testing::IsEmpty()) << "not even that it is over";
}

TEST_F(FilesPolicyTest, APairThatStaysTornIsToldOfOnce) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Rename(1, next.key);
  Go();
  EXPECT_EQ(Run(absl::Seconds(2)), "");
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_EQ(notices_[0].text,
            "the files a, b, c are no identity that can be used now: key: it "
            "is not that of the chain's first certificate. The last good "
            "identity stays; it ends at 2027-01-15T09:00:00Z.");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
  EXPECT_EQ(Run(absl::Minutes(5)), "");
  EXPECT_THAT(Told(), testing::IsEmpty());
  Rename(0, next.chain);
  EXPECT_EQ(Go(), next.serial);
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(FilesPolicyTest, AnotherTroubleIsToldOfAfterwards) {
  Start();
  Rename(1, SvidOf(root_, kWall, kWall + kHour).key);
  Go();
  Run(absl::Seconds(3));
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
  Rename(0, "no certificate");
  Go();
  EXPECT_EQ(Run(absl::Seconds(1)), "");
  EXPECT_THAT(Told(), testing::IsEmpty());
  Run(absl::Seconds(1));
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
  // The old pair is good, though it is not new.
  Rename(0, first_.chain);
  Rename(1, first_.key);
  EXPECT_EQ(Go(), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(FilesPolicyTest, FilesThatGoOnChangingDoNotPutOffTheWord) {
  Start();
  for (int i = 0; i < 20; ++i) {
    Rename(1, "garbage");
    Go();
    Run(absl::Milliseconds(110));
  }
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
}

TEST_F(FilesPolicyTest, WhatCannotBeReadIsTriedAgain) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  readable_ = false;
  Rename(0, next.chain);
  Rename(1, next.key);
  EXPECT_EQ(Go(), "");
  Run(absl::Seconds(3));
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kUnreadable));
  readable_ = true;  // The files are the same.
  EXPECT_EQ(Run(absl::Seconds(1)), next.serial);
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kRecovered));
}

TEST_F(FilesPolicyTest, OneThatIsNotValidYetIsPublishedWhenItsTimeComes) {
  Start();
  const certs::Issued next =
      SvidOf(root_, kWall + absl::Seconds(10), kWall + kHour);
  Rename(0, next.chain);
  Rename(1, next.key);
  EXPECT_EQ(Go(), "");
  EXPECT_EQ(Run(absl::Milliseconds(9999)), "");
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kNotYetValid));
  EXPECT_EQ(Run(absl::Milliseconds(1)), next.serial) << "to the moment";
}

TEST_F(FilesPolicyTest, AWallClockThatIsPutRightIsNoticed) {
  now_.wall = kWall - absl::Hours(1);
  EXPECT_EQ(Go(), "");
  EXPECT_TRUE(absl::IsFailedPrecondition(policy_.trouble()));
  now_.wall = kWall + absl::Minutes(1);
  EXPECT_EQ(Run(absl::Seconds(1)), first_.serial);
}

TEST_F(FilesPolicyTest, AnExpiredOneStaysUntilTheNextComes) {
  Start();
  EXPECT_EQ(Run(absl::Minutes(70)), "");
  EXPECT_THAT(Told(), testing::IsEmpty()) << "alarms are not the files' affair";
  const certs::Issued next = SvidOf(root_, now_.wall, now_.wall + kHour);
  Rename(0, next.chain);
  Rename(1, next.key);
  EXPECT_EQ(Go(), next.serial);
}

TEST_F(FilesPolicyTest, TheSameFilesAreBadWhenTheyHaveExpired) {
  Start();
  Run(absl::Minutes(59));
  Rename(0, first_.chain);
  EXPECT_EQ(Go(), "");
  EXPECT_TRUE(policy_.trouble().ok()) << policy_.trouble();
  Run(absl::Minutes(1));
  Rename(0, first_.chain);
  EXPECT_EQ(Go(), "");
  EXPECT_THAT(policy_.trouble().message(), testing::HasSubstr("it expired at"));
}

TEST_F(FilesPolicyTest, AnExpiredOneDoesNotReplaceAGoodOne) {
  Start();
  const certs::Issued old = SvidOf(root_, kWall - kHour, kWall);
  Rename(0, old.chain);
  Rename(1, old.key);
  EXPECT_EQ(Go(), "");
  Run(absl::Seconds(2));
  EXPECT_THAT(Told(), testing::ElementsAre(Kind::kBad));
}

TEST_F(FilesPolicyTest, WhatChangesWhileItIsReadIsReadAgain) {
  Start();
  const certs::Issued next = SvidOf(root_, kWall, kWall + kHour);
  Rename(0, next.chain);
  Rename(1, next.key);
  FilesPolicy::Contents torn;
  torn.stamps = stamps_;
  torn.bytes = BytesOf(next, "half");
  policy_.OnChange(2, Change::kWritten, stamps_[2], now_);  // By the shell.
  EXPECT_EQ(policy_.OnRead(std::move(torn), now_).publish, nullptr);
  EXPECT_TRUE(policy_.trouble().ok()) << "it says nothing of the identity";
  Pass(absl::Milliseconds(100));
  EXPECT_EQ(Go(), next.serial);
}

TEST_F(FilesPolicyTest, WarningsComeWithWhatIsPublished) {
  const std::string other = RootAt(kWall, "other").pem();
  FilesPolicy::Contents contents;
  contents.stamps = stamps_;
  contents.bytes = BytesOf(first_, other);
  const FilesPolicy::Decision decision =
      policy_.OnRead(std::move(contents), now_);
  ASSERT_NE(decision.publish, nullptr);
  ASSERT_EQ(decision.notices.size(), 1);
  EXPECT_EQ(decision.notices[0].kind, Kind::kWarning);

  // It is told once, and not with each renewal.
  const std::string text = "everybody may read the key.";
  for (const int told : {1, 0}) {
    FilesPolicy::Contents renewed;
    renewed.stamps = stamps_;
    renewed.bytes = BytesOf(SvidOf(root_, kWall, kWall + 2 * kHour), other);
    renewed.warnings = {text};
    const FilesPolicy::Decision next = policy_.OnRead(std::move(renewed), now_);
    ASSERT_NE(next.publish, nullptr);
    EXPECT_EQ(std::count(next.notices.begin(), next.notices.end(),
                         IdentityNotice{Kind::kWarning, text}),
              told);
  }
}

TEST_F(FilesPolicyTest, WhatTheConfigurationHasSaidIsNotToldAgain) {
  FilesPolicy::Contents contents;
  contents.stamps = stamps_;
  contents.bytes = BytesOf(first_, root_.pem());
  contents.warnings = {"everybody may read the key."};
  const FilesPolicy::Decision decision =
      policy_.OnRead(std::move(contents), now_);
  ASSERT_NE(decision.publish, nullptr);
  EXPECT_THAT(decision.notices, testing::IsEmpty());
}

TEST_F(FilesPolicyTest, SaysWhenItWantsToActNext) {
  EXPECT_EQ(Go(), first_.serial);
  policy_.OnLook(stamps_, now_);
  EXPECT_EQ(policy_.Next(now_), now_.steady) << "once more";
  Go();
  EXPECT_EQ(policy_.Next(now_), now_.steady + FilesPolicy::kLook);
}

}  // namespace
}  // namespace mesh::security
