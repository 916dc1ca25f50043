// Calls over gRPC are decided by the machine that the simulator drives: what
// was recorded of them, played again, comes out the same.

#include <dirent.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/call/trace.h"
#include "mesh/mesh.h"
#include "mesh/simulation/replay.h"
#include "mesh/v1/config.pb.h"
#include "tests/support/test_server.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::simulation {
namespace {

using test::TestServer;
using test::TestService;
using ::testing::HasSubstr;

class RecordedCallsTest : public ::testing::Test {
 protected:
  // A mesh of `count` servers and one address where nobody listens.
  void Start(int count, v1::LoadBalancing::Policy policy, bool hedged = false) {
    v1::Config config;
    v1::Service& service = (*config.mutable_services())["test"];
    for (int i = 0; i < count; ++i) {
      auto server = TestServer::Start();
      ASSERT_TRUE(server.ok()) << server.status();
      service.add_endpoints()->set_address((*server)->address());
      servers_.push_back(*std::move(server));
    }
    service.add_endpoints()->set_address("127.0.0.1:1");
    service.mutable_load_balancing()->set_policy(policy);
    service.mutable_policy()->set_idempotent(true);
    v1::RetryPolicy* const retry = service.mutable_policy()->mutable_retry();
    retry->set_max_attempts(4);
    retry->mutable_initial_backoff()->set_nanos(2'000'000);
    retry->mutable_attempt_timeout()->set_nanos(30'000'000);
    // A replay does not know what health was known of endpoints then: picks
    // that looked at it are taken as they were.
    service.mutable_outlier_ejection()->set_mode(v1::MODE_OFF);
    service.mutable_silence()->set_mode(v1::MODE_OFF);
    if (hedged) {
      v1::Hedging* const hedging = service.mutable_policy()->mutable_hedging();
      hedging->set_mode(v1::MODE_ENFORCE);
      hedging->mutable_delay()->set_nanos(8'000'000);
      hedging->set_max_attempts(3);
    }
    (*service.mutable_methods())["mesh.test.TestService/Once"].set_idempotent(
        false);
    recorder_ = std::make_shared<call::TraceRecorder>(
        policy == v1::LoadBalancing::ROUND_ROBIN
            ? options::BalancingPolicy::kRoundRobin
            : options::BalancingPolicy::kLeastRequest);
    Options options;
    options.observers = {recorder_};
    auto mesh = Mesh::Create(config, options);
    ASSERT_TRUE(mesh.ok()) << mesh.status();
    mesh_ = *std::move(mesh);
    stub_ = TestService::NewStub(mesh_->Channel("test"));
  }

  // Calls that go well, fail, are slow, pushed back, late, cancelled.
  void Call(int i) {
    grpc::ClientContext context;
    test::Request request;
    test::Directives& what = *request.mutable_directives();
    what.set_key(absl::StrCat(i));
    bool once = false;
    switch (i % 10) {
      case 0:
        what.set_fail_first(1);
        break;
      case 1:
        what.set_fail_share(0.5);
        break;
      case 2:
        what.set_fail_share(0.5);
        what.set_pushback_ms(i % 20 == 2 ? "3" : "-1");
        break;
      case 3:
        what.set_sleep_ms(40);  // Above the attempt timeout.
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::milliseconds(100));
        break;
      case 4:
        what.set_sleep_ms(10);
        context.set_deadline(std::chrono::system_clock::now() +
                             std::chrono::milliseconds(5));
        break;
      case 5:
        what.set_code(grpc::StatusCode::NOT_FOUND);
        break;
      case 6:
        context.TryCancel();
        break;
      case 7:
        once = true;
        what.set_fail_share(0.3);
        break;
      case 8:
        context.set_wait_for_ready(true);
        break;
      case 9:
        what.set_sleep_ms(12);  // Above the delay of hedges.
        break;
      default:
        break;
    }
    test::Reply reply;
    if (once) {
      stub_->Once(&context, request, &reply);
    } else {
      stub_->Unary(&context, request, &reply);
    }
  }

  // What was recorded. It is kept among the test's outputs, for a look at what
  // differs.
  std::string Recorded() const {
    std::string text = recorder_->Text();
    if (const char* outputs = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR")) {
      std::ofstream(absl::StrCat(
          outputs, "/",
          ::testing::UnitTest::GetInstance()->current_test_info()->name(),
          ".trace"))
          << text;
    }
    return text;
  }

  std::vector<std::unique_ptr<TestServer>> servers_;
  std::shared_ptr<call::TraceRecorder> recorder_;
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<TestService::Stub> stub_;
};

TEST_F(RecordedCallsTest, AreDecidedTheSameInTheReplay) {
  Start(3, v1::LoadBalancing::LEAST_REQUEST);
  for (int i = 0; i < 300; ++i) {
    if (i == 150) servers_[1].reset();
    Call(i);
  }
  const std::string text = Recorded();
  EXPECT_THAT(text, HasSubstr("verdict=retry"));
  EXPECT_THAT(text, HasSubstr("verdict=pushed_back"));
  EXPECT_THAT(text, HasSubstr("timed_out=1"));
  EXPECT_THAT(text, HasSubstr("reason=retry"));
  const absl::StatusOr<ReplayCount> count = Replay(text);
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->calls, 300u);
  EXPECT_GT(count->picks, 300u);
  // Only while no endpoints are known.
  EXPECT_LT(count->trusted, 10u);
}

TEST_F(RecordedCallsTest, AlsoByTurns) {
  Start(2, v1::LoadBalancing::ROUND_ROBIN);
  for (int i = 0; i < 100; ++i) Call(i);
  const absl::StatusOr<ReplayCount> count = Replay(Recorded());
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->calls, 100u);
}

TEST_F(RecordedCallsTest, AlsoOfManyThreads) {
  Start(3, v1::LoadBalancing::LEAST_REQUEST);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 100; ++i) Call(t * 100 + i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const absl::StatusOr<ReplayCount> count = Replay(Recorded());
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->calls, 400u);
}

TEST_F(RecordedCallsTest, AlsoHedgedOnes) {
  Start(3, v1::LoadBalancing::LEAST_REQUEST, /*hedged=*/true);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 100; ++i) Call(t * 100 + i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = Recorded();
  EXPECT_THAT(text, HasSubstr("verdict=hedge"));
  EXPECT_THAT(text, HasSubstr("given_up=1"));
  const absl::StatusOr<ReplayCount> count = Replay(text);
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->calls, 200u);
}

// What was recorded of earlier versions is decided the same by this one.
TEST(OldRecordingsTest, AreDecidedAsTheyWere) {
  const std::string folder = "mesh/simulation/recorded";
  DIR* const directory = opendir(folder.c_str());
  ASSERT_NE(directory, nullptr) << folder;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory)) {
    if (absl::EndsWith(entry->d_name, ".trace")) {
      names.push_back(entry->d_name);
    }
  }
  closedir(directory);
  EXPECT_GE(names.size(), 4u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    std::ifstream file(absl::StrCat(folder, "/", name));
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    const absl::StatusOr<ReplayCount> count = Replay(text);
    ASSERT_TRUE(count.ok()) << count.status();
    EXPECT_GE(count->calls, 100u);
  }
}

}  // namespace
}  // namespace mesh::simulation
