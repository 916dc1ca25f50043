#include "mesh/base/file_poller.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

using Change = FilePoller::Change;

class FilePollerTest : public testing::Test {
 protected:
  FilePollerTest() {
    dir_ = testing::TempDir() + "/poller_XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/file";
  }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  void Replace(const std::string& text) {
    Write(path_ + ".new", text);
    ASSERT_EQ(std::rename((path_ + ".new").c_str(), path_.c_str()), 0);
  }
  FilePoller Poller() const {
    return FilePoller({path_, Fingerprint(ReadFile(path_))});
  }

  std::string dir_;
  std::string path_;
};

TEST_F(FilePollerTest, SeesNothingWhileNothingChanges) {
  Write(path_, "a");
  FilePoller poller = Poller();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(poller.Look(), Change::kNone);
}

TEST_F(FilePollerTest, SeesAReplacedFileAtOnce) {
  Write(path_, "a");
  FilePoller poller = Poller();
  Replace("b");
  EXPECT_EQ(poller.Look(), Change::kContents);
  EXPECT_EQ(poller.Look(), Change::kNone);
}

TEST_F(FilePollerTest, WaitsUntilAFileWrittenInPlaceStandsStill) {
  Write(path_, "a");
  FilePoller poller = Poller();
  EXPECT_EQ(poller.Look(), Change::kNone);
  Write(path_, "half");
  EXPECT_EQ(poller.Look(), Change::kSettling);
  Write(path_, "half and more");
  EXPECT_EQ(poller.Look(), Change::kSettling);
  EXPECT_EQ(poller.Look(), Change::kContents);
  EXPECT_EQ(poller.Look(), Change::kNone);
}

TEST_F(FilePollerTest, SeesAWriteInTheSameTickAndOfTheSameSize) {
  Write(path_, "a");
  struct stat before;
  ASSERT_EQ(stat(path_.c_str(), &before), 0);
  // As the file was read a moment before it was written again.
  FilePoller poller({path_, Fingerprint(std::string("b"))});
  EXPECT_EQ(poller.Look(), Change::kContents);
}

TEST_F(FilePollerTest, TakesATouchedFileForTheSame) {
  Write(path_, "a");
  FilePoller poller = Poller();
  Replace("a");
  EXPECT_EQ(poller.Look(), Change::kNone);
}

TEST_F(FilePollerTest, SeesAFileGoAndComeBack) {
  Write(path_, "a");
  FilePoller poller = Poller();
  ASSERT_EQ(unlink(path_.c_str()), 0);
  EXPECT_EQ(poller.Look(), Change::kContents);
  EXPECT_EQ(poller.Look(), Change::kNone);
  Write(path_, "a");
  EXPECT_EQ(poller.Look(), Change::kContents);
}

TEST_F(FilePollerTest, FollowsALinkThatIsExchanged) {
  ASSERT_EQ(mkdir((dir_ + "/1").c_str(), 0700), 0);
  ASSERT_EQ(mkdir((dir_ + "/2").c_str(), 0700), 0);
  Write(dir_ + "/1/file", "a");
  Write(dir_ + "/2/file", "b");
  ASSERT_EQ(symlink("1", (dir_ + "/data").c_str()), 0);
  ASSERT_EQ(symlink("data/file", path_.c_str()), 0);
  FilePoller poller = Poller();
  EXPECT_EQ(poller.Look(), Change::kNone);
  ASSERT_EQ(symlink("2", (dir_ + "/data.new").c_str()), 0);
  ASSERT_EQ(std::rename((dir_ + "/data.new").c_str(), (dir_ + "/data").c_str()),
            0);
  EXPECT_EQ(poller.Look(), Change::kContents);
}

}  // namespace
}  // namespace mesh::base
