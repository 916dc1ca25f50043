#include "mesh/config/file_watcher.h"

#include <stdlib.h>

#include <cstdio>
#include <deque>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"

namespace mesh::config {
namespace {

constexpr char kServiceConfig[] = R"({"methodConfig": [
  {"name": [{}], "timeout": "1s"}]})";

// A watcher on its own loop, and all that it said.
class FileWatcherTest : public testing::Test {
 protected:
  FileWatcherTest() {
    dir_ = testing::TempDir() + "/watcher_XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/mesh.yaml";
  }
  ~FileWatcherTest() override { loop_.Stop(); }

  void Replace(const std::string& path, const std::string& text) {
    std::ofstream(path + ".new") << text;
    ASSERT_EQ(std::rename((path + ".new").c_str(), path.c_str()), 0);
  }

  void Start() {
    loop_.Post([this] {
      watcher_->Start(
          &loop_,
          [this](absl::StatusOr<options::MeshOptions> options, bool again) {
            if (destroy_in_listener_) watcher_.reset();
            base::MutexLock lock(&mu_);
            said_.push_back(std::move(options));
            again_.push_back(again);
            cond_.Signal();
            return again_.size() > refusals_;
          });
    });
  }

  // What the watcher says next. Waits for it, at most a minute.
  absl::StatusOr<options::MeshOptions> Next() {
    base::MutexLock lock(&mu_);
    while (said_.empty()) {
      if (cond_.WaitWithTimeout(&mu_, absl::Minutes(1))) {
        return absl::DeadlineExceededError("the watcher says nothing");
      }
    }
    absl::StatusOr<options::MeshOptions> next = std::move(said_.front());
    said_.pop_front();
    return next;
  }

  std::string dir_;
  std::string path_;
  bool destroy_in_listener_ = false;
  base::Mutex mu_;
  base::CondVar cond_;
  std::deque<absl::StatusOr<options::MeshOptions>> said_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> again_ ABSL_GUARDED_BY(mu_);
  size_t refusals_ = 0;  // How often the listener refuses.
  base::EventLoop loop_{"watcher_test"};
  std::unique_ptr<FileWatcher> watcher_;  // Goes before its loop.
};

std::string WithService(const std::string& name) {
  return "services: {" + name + ": {endpoints: []}}";
}

TEST_F(FileWatcherTest, TellsOfAGoodChangeABadOneAndAGoodOne) {
  Replace(path_, WithService("a"));
  watcher_ = std::make_unique<FileWatcher>(path_, absl::Milliseconds(5));
  absl::StatusOr<options::MeshOptions> options = watcher_->Load();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->services.count("a"), 1u);
  Start();

  Replace(path_, WithService("b"));
  options = Next();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->services.count("b"), 1u);

  Replace(path_, "servces: {}");
  EXPECT_THAT(std::string(Next().status().message()),
              testing::HasSubstr("the top level has no field \"servces\""));

  ASSERT_EQ(std::remove(path_.c_str()), 0);
  EXPECT_EQ(Next().status().code(), absl::StatusCode::kNotFound);

  Replace(path_, WithService("c"));
  options = Next();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->services.count("c"), 1u);
}

TEST_F(FileWatcherTest, TellsOfAFileThatTheConfigurationNames) {
  const std::string named = dir_ + "/service.json";
  Replace(named, kServiceConfig);
  Replace(path_,
          "services: {a: {endpoints: [], "
          "grpc_service_config: {path: service.json}}}");
  watcher_ = std::make_unique<FileWatcher>(path_, absl::Milliseconds(5));
  ASSERT_TRUE(watcher_->Load().ok());
  Start();

  ASSERT_EQ(std::remove(named.c_str()), 0);
  EXPECT_EQ(Next().status().code(), absl::StatusCode::kInvalidArgument);

  Replace(named, kServiceConfig);
  const absl::StatusOr<options::MeshOptions> options = Next();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->services.at("a")->policy.timeout, absl::Seconds(1));
}

TEST_F(FileWatcherTest, TellsAgainOfWhatIsRefusedUntilItIsNot) {
  refusals_ = 2;
  Replace(path_, WithService("a"));
  watcher_ = std::make_unique<FileWatcher>(path_, absl::Milliseconds(5));
  ASSERT_TRUE(watcher_->Load().ok());
  Start();
  Replace(path_, WithService("b"));
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<options::MeshOptions> options = Next();
    ASSERT_TRUE(options.ok()) << options.status();
    EXPECT_EQ(options->services.count("b"), 1u);
  }
  // Nothing more is said of it.
  Replace(path_, WithService("c"));
  const absl::StatusOr<options::MeshOptions> options = Next();
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->services.count("c"), 1u);
  base::MutexLock lock(&mu_);
  EXPECT_THAT(again_, testing::ElementsAre(false, true, true, false));
}

TEST_F(FileWatcherTest, LoadsByItselfWhenItWasNotAskedTo) {
  Replace(path_, WithService("a"));
  watcher_ = std::make_unique<FileWatcher>(path_, absl::Milliseconds(5));
  Start();
  EXPECT_TRUE(Next().ok());
}

TEST_F(FileWatcherTest, MayBeDestroyedInsideItsListener) {
  destroy_in_listener_ = true;
  Replace(path_, WithService("a"));
  watcher_ = std::make_unique<FileWatcher>(path_, absl::Milliseconds(5));
  Start();
  EXPECT_TRUE(Next().ok());
}

}  // namespace
}  // namespace mesh::config
