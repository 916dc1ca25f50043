#include "mesh/security/path_watch.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::security {

// For messages and matchers.
bool operator==(const PathWatch::Event& a, const PathWatch::Event& b) {
  return a.file == b.file && a.change == b.change;
}
void PrintTo(const PathWatch::Event& event, std::ostream* out) {
  *out << event.file
       << (event.change == PathWatch::Change::kReplaced ? " replaced"
                                                        : " written");
}

namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

constexpr auto kReplaced = PathWatch::Change::kReplaced;
constexpr auto kWritten = PathWatch::Change::kWritten;

// What happens in this process is known to inotify at once.
class PathWatchTest : public testing::Test {
 protected:
  PathWatchTest()
      : directory_(absl::StrCat(
            testing::TempDir(), "/path_watch_",
            testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  ~PathWatchTest() override { std::filesystem::remove_all(directory_); }

  std::string In(const std::string& name) const {
    return absl::StrCat(directory_, "/", name);
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(In(name), std::ios::trunc) << text;
  }
  void Rename(const std::string& from, const std::string& to) const {
    ASSERT_EQ(rename(In(from).c_str(), In(to).c_str()), 0);
  }
  void Link(const std::string& target, const std::string& name) const {
    ASSERT_EQ(symlink(target.c_str(), In(name).c_str()), 0);
  }
  void MakeDirectory(const std::string& name) const {
    ASSERT_EQ(mkdir(In(name).c_str(), 0755), 0);
  }

  const std::string directory_;
};

TEST_F(PathWatchTest, TellsAWriteFromARename) {
  Write("a", "1");
  Write("b", "1");
  PathWatch watch({In("a"), In("b")});
  EXPECT_THAT(watch.Read(), IsEmpty());
  { std::ofstream(In("a"), std::ios::app) << "2"; }
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kWritten}));
  Write("new", "3");
  EXPECT_THAT(watch.Read(), IsEmpty()) << "nobody asked for this name";
  Rename("new", "b");
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{1, kReplaced}));
  // The new file is watched, the old one is not.
  { std::ofstream(In("b"), std::ios::app) << "4"; }
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{1, kWritten}));
}

TEST_F(PathWatchTest, AFileThatIsMadeAnewIsBeingWritten) {
  PathWatch watch({In("a")});
  Write("a", "1");
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
  { std::ofstream(In("a"), std::ios::app) << "2"; }
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
  unlink(In("a").c_str());
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
}

TEST_F(PathWatchTest, TwoFilesOfOneNameAreBothTold) {
  Write("a", "1");
  PathWatch watch({In("a"), In("a")});
  Write("new", "2");
  Rename("new", "a");
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kReplaced},
                                        PathWatch::Event{1, kReplaced}));
}

// As Kubernetes writes a secret: tls.crt -> ..data/tls.crt, ..data -> ..1.
TEST_F(PathWatchTest, ASymbolicLinkOnTheWayThatIsSwapped) {
  for (const std::string name : {"..1", "..2", "..3"}) {
    MakeDirectory(name);
    Write(name + "/tls.crt", name);
  }
  Link("..1", "..data");
  Link("..data/tls.crt", "tls.crt");
  PathWatch watch({In("tls.crt")});
  for (const std::string name : {"..2", "..3"}) {
    Link(name, "..data_tmp");
    Rename("..data_tmp", "..data");
    EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kReplaced}));
  }
  // What it led to before is of no matter.
  Write("..1/tls.crt", "x");
  EXPECT_THAT(watch.Read(), IsEmpty());
  Write("..3/tls.crt", "y");
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
}

// As `ln -sfn` does it.
TEST_F(PathWatchTest, ASymbolicLinkThatIsMadeAnewIsAReplacement) {
  MakeDirectory("one");
  MakeDirectory("two");
  Write("one/a", "1");
  Write("two/a", "2");
  Link("one", "current");
  PathWatch watch({In("current/a")});
  unlink(In("current").c_str());
  Link("two", "current");
  EXPECT_EQ(watch.Read().back(), (PathWatch::Event{0, kReplaced}));
  // An absolute one as well.
  unlink(In("current").c_str());
  Link(In("one"), "current");
  EXPECT_EQ(watch.Read().back(), (PathWatch::Event{0, kReplaced}));
  Write("one/new", "3");
  Rename("one/new", "one/a");
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kReplaced}));
}

TEST_F(PathWatchTest, ADirectoryThatIsReplaced) {
  MakeDirectory("certs");
  MakeDirectory("next");
  Write("certs/a", "1");
  Write("next/a", "2");
  PathWatch watch({In("certs/a")});
  Rename("certs", "old");
  Rename("next", "certs");
  EXPECT_EQ(watch.Read().back(), (PathWatch::Event{0, kReplaced}));
  { std::ofstream(In("certs/a"), std::ios::app) << "2"; }
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kWritten}));
  { std::ofstream(In("old/a"), std::ios::app) << "2"; }
  EXPECT_THAT(watch.Read(), IsEmpty());
}

TEST_F(PathWatchTest, ADirectoryThatComesLater) {
  PathWatch watch({In("later/sub/a")});
  MakeDirectory("later");
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
  MakeDirectory("later/sub");
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
  Write("later/sub/a", "1");
  EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kWritten}));
}

TEST_F(PathWatchTest, OddPathsLeadWhereTheSystemSays) {
  MakeDirectory("x");
  Write("a", "1");
  Link("../a", "x/up");
  Link("round", "round");
  PathWatch watch({In("x/../x/./up"), In("round"), In("a/b")});
  EXPECT_THAT(watch.Read(), IsEmpty());
  Write("new", "2");
  Rename("new", "a");
  EXPECT_THAT(watch.Read(), ElementsAre(PathWatch::Event{0, kReplaced},
                                        PathWatch::Event{2, kReplaced}));
}

TEST_F(PathWatchTest, ManyReplacementsLeaveNoWatchesBehind) {
  MakeDirectory("d");
  Write("d/a", "0");
  PathWatch watch({In("d/a")});
  for (int i = 0; i < 1000; ++i) {
    MakeDirectory("n");
    Write("n/a", "1");
    Rename("d", "o");
    Rename("n", "d");
    std::filesystem::remove_all(In("o"));
    EXPECT_THAT(watch.Read(), Contains(PathWatch::Event{0, kReplaced}));
  }
  // The kernel lists the watches of a descriptor.
  std::ifstream info(absl::StrCat("/proc/self/fdinfo/", watch.fd()));
  int watches = 0;
  for (std::string line; std::getline(info, line);) {
    watches += line.rfind("inotify", 0) == 0 ? 1 : 0;
  }
  EXPECT_GT(watches, 0);
  EXPECT_LT(watches, 20);
}

TEST_F(PathWatchTest, AQueueThatOverflowsTellsOfAll) {
  Write("a", "1");
  Write("b", "1");
  PathWatch watch({In("a"), In("b")});
  std::ifstream limit("/proc/sys/fs/inotify/max_queued_events");
  int most = 0;
  limit >> most;
  ASSERT_GT(most, 0);
  // Two that follow each other and are alike count as one.
  for (int i = 0; i <= most; ++i) {
    unlink(In("a").c_str());
    Write("a", "");
  }
  EXPECT_EQ(watch.Read().back(), (PathWatch::Event{1, kWritten}));
}

}  // namespace
}  // namespace mesh::security
