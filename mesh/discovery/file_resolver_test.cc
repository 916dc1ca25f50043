#include "mesh/discovery/file_resolver.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "mesh/config/loader.h"
#include "mesh/discovery/resolver.h"
#include "mesh/discovery/resolver_test_util.h"

namespace mesh::discovery {
namespace {

class FileResolverTest : public ::testing::Test {
 protected:
  FileResolverTest() {
    std::string name = ::testing::TempDir() + "/endpoints.XXXXXX";
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/endpoints.yaml";
  }
  ~FileResolverTest() override {
    const std::string command = "rm -rf " + directory_;
    EXPECT_EQ(system(command.c_str()), 0);
  }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }
  // As careful writers do: the file is never half there.
  void Replace(const std::string& text) {
    Write(path_ + ".new", text);
    ASSERT_EQ(rename((path_ + ".new").c_str(), path_.c_str()), 0);
  }
  options::EndpointSource Source() {
    return options::EndpointsFileOptions{path_};
  }
  // Makes one that looks more often than the real one: a test need not wait.
  Watched::Make Looking(absl::Duration every = absl::Milliseconds(10)) {
    return [path = path_, every](base::EventLoop* loop) {
      return std::make_unique<FileResolver>(options::EndpointsFileOptions{path},
                                            config::ParseEndpoints, loop,
                                            every);
    };
  }

  std::string directory_;
  std::string path_;
};

constexpr char kA[] = "endpoints:\n- 127.0.0.1:1\n";
constexpr char kB[] = "endpoints:\n- 127.0.0.1:2\n";
constexpr absl::Duration kAWhile = absl::Milliseconds(100);

TEST(StaticResolverTest, CallsBackAtOnceAndOnce) {
  auto set = std::make_shared<cluster::EndpointSet>();
  set->endpoints.emplace_back();
  set->endpoints.back().address = "127.0.0.1:1";
  base::EventLoop loop("test");
  RunOn(loop, [&] {
    const auto resolver = MakeResolver(cluster::EndpointSetPtr(set), &loop,
                                       config::ParseEndpoints);
    int reports = 0;
    resolver->Start([&](absl::StatusOr<cluster::EndpointSetPtr> update) {
      ++reports;
      EXPECT_EQ(*update, set);
    });
    EXPECT_EQ(reports, 1);
    resolver->Refresh();
    EXPECT_EQ(reports, 1);
  });
}

TEST(StaticResolverTest, NoSetIsAnEmptyOne) {
  Watched resolver{cluster::EndpointSetPtr()};
  EXPECT_EQ(*resolver.Next(), Addresses());
}

TEST_F(FileResolverTest, ReadsTheFileBeforeStartReturns) {
  Write(path_, kA);
  base::EventLoop loop("test");
  RunOn(loop, [&] {
    const auto resolver = MakeResolver(Source(), &loop, config::ParseEndpoints);
    int reports = 0;
    resolver->Start([&](absl::StatusOr<cluster::EndpointSetPtr> update) {
      ++reports;
      EXPECT_TRUE(update.ok()) << update.status();
    });
    EXPECT_EQ(reports, 1);
  });
}

TEST_F(FileResolverTest, SeesAWriteInPlaceARenameOverItAndNothingElse) {
  Write(path_, kA);
  Watched resolver(Looking());
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}));
  EXPECT_TRUE(resolver.Silent(kAWhile));
  Replace(kB);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:2"}));
  EXPECT_TRUE(resolver.Silent(kAWhile));
  Write(path_, kA);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}));
  Replace(kB);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:2"}));
  Replace("# the same in other words\nendpoints: ['127.0.0.1:2']\n");
  EXPECT_TRUE(resolver.Silent(kAWhile));
}

TEST_F(FileResolverTest, SeesEveryLastWriteOfManyQuickOnes) {
  Write(path_, kA);
  Watched resolver(Looking());
  resolver.Next().IgnoreError();
  // Same size, and often the same time stamp.
  for (int round = 0; round < 20; ++round) {
    for (int write = 0; write < 5; ++write) {
      Replace("endpoints:\n- 127.0.0.1:" + std::to_string(1000 + write) + "\n");
    }
    const std::string last = "127.0.0.1:" + std::to_string(2000 + round);
    Replace("endpoints:\n- " + last + "\n");
    std::string seen;
    while (seen != last) {
      const auto next = resolver.Next();
      ASSERT_TRUE(next.ok()) << next.status();
      seen = next->at(0);
    }
  }
}

// A ConfigMap is a link to `..data/name`, and `..data` a link to a directory
// that is exchanged whole.
TEST_F(FileResolverTest, SeesALinkThatIsExchangedAsKubernetesDoes) {
  const auto version = [&](const std::string& name, const char* text) {
    ASSERT_EQ(mkdir((directory_ + "/" + name).c_str(), 0755), 0);
    Write(directory_ + "/" + name + "/endpoints.yaml", text);
    ASSERT_EQ(symlink(name.c_str(), (directory_ + "/..tmp").c_str()), 0);
    ASSERT_EQ(rename((directory_ + "/..tmp").c_str(),
                     (directory_ + "/..data").c_str()),
              0);
  };
  version("..1", kA);
  ASSERT_EQ(symlink("..data/endpoints.yaml", path_.c_str()), 0);
  Watched resolver(Looking());
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}));
  version("..2", kB);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:2"}));
}

TEST_F(FileResolverTest, AFileThatVanishesIsOneFailureUntilItIsBack) {
  Write(path_, kA);
  Watched resolver(Looking());
  EXPECT_TRUE(resolver.Next().ok());
  unlink(path_.c_str());
  const auto gone = resolver.Next();
  EXPECT_EQ(gone.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(gone.status().message()).find(path_),
            std::string::npos);
  EXPECT_TRUE(resolver.Silent(kAWhile));
  Write(path_ + ".new", kA);
  rename((path_ + ".new").c_str(), path_.c_str());
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}))
      << "said again, though it is the same";
}

TEST_F(FileResolverTest, AFileThatIsNotThereYetIsWaitedFor) {
  Watched resolver(Looking());
  EXPECT_EQ(resolver.Next().status().code(), absl::StatusCode::kNotFound);
  Replace(kA);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}));
}

TEST_F(FileResolverTest, ABadFileIsAFailureThatNamesThePlace) {
  Write(path_, kA);
  Watched resolver(Looking());
  EXPECT_TRUE(resolver.Next().ok());
  Replace("endpoints:\n- 127.0.0.1:0\n");
  const auto bad = resolver.Next();
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(bad.status().message()).find("endpoints.yaml:2"),
            std::string::npos)
      << bad.status();
  Replace("{");
  EXPECT_FALSE(resolver.Next().ok()) << "another failure";
  Replace(kA);
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:1"}));
}

TEST_F(FileResolverTest, ADirectoryAndAFifoAreFailuresAndBlockNothing) {
  ASSERT_EQ(mkdir(path_.c_str(), 0755), 0);
  Watched resolver(Looking());
  EXPECT_FALSE(resolver.Next().ok());
  rmdir(path_.c_str());
  EXPECT_EQ(resolver.Next().status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(mkfifo(path_.c_str(), 0644), 0);
  EXPECT_FALSE(resolver.Next().ok());
  Replace(kA);
  EXPECT_TRUE(resolver.Next().ok());
}

TEST_F(FileResolverTest, AnEmptyListIsASet) {
  Write(path_, kA);
  Watched resolver(Looking());
  EXPECT_TRUE(resolver.Next().ok());
  Replace("endpoints: []\n");
  EXPECT_EQ(*resolver.Next(), Addresses());
  EXPECT_TRUE(resolver.Silent(kAWhile));
}

TEST_F(FileResolverTest, RefreshLooksBeforeTheNextPoll) {
  Write(path_, kA);
  Watched resolver(Looking(absl::Hours(1)));
  EXPECT_TRUE(resolver.Next().ok());
  Replace(kB);
  for (int i = 0; i < 1000; ++i) resolver.Refresh();
  EXPECT_EQ(*resolver.Next(), Addresses({"127.0.0.1:2"}));
}

TEST_F(FileResolverTest, MayBeDestroyedInsideItsReport) {
  Write(path_, kA);
  base::EventLoop loop("test");
  auto resolver = MakeResolver(Source(), &loop, config::ParseEndpoints);
  std::promise<void> destroyed;
  RunOn(loop, [&] {
    int reports = 0;
    resolver->Start([&, reports](auto) mutable {
      if (++reports < 2) return;
      resolver.reset();
      destroyed.set_value();
    });
  });
  Replace(kB);
  destroyed.get_future().wait();
}

}  // namespace
}  // namespace mesh::discovery
