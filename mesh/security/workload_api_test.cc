#include "mesh/security/workload_api.h"

#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/agent.h"
#include "mesh/security/source_test_util.h"
#include "mesh/testing/no_threads.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;
constexpr absl::Duration kHour = absl::Hours(1);
constexpr char kCart[] = "spiffe://prod/cart";

// A real agent in this process, on a socket.
class WorkloadApiTest : public ::testing::Test {
 protected:
  WorkloadApiTest()
      // A socket's path is short, so it cannot stand in the test's directory.
      : address_(absl::StrCat("unix:/tmp/mesh_agent_", getpid())),
        root_(RootAt(now_, "root")) {}
  ~WorkloadApiTest() override { unlink(address_.c_str() + 5); }

  certs::Issued Next() const {
    return SvidOf(root_, now_ - kHour, now_ + kHour);
  }
  static std::string Response(const certs::Issued& svid,
                              const std::string& bundle) {
    return *certs::AgentResponse({{kCart, "", BytesOf(svid, bundle)}});
  }
  void StartAgent() {
    auto made = certs::Agent::Start(address_);
    ASSERT_TRUE(made.ok()) << made.status();
    agent_ = *std::move(made);
  }
  void StartSource() {
    auto made = WorkloadApiSource::Make(address_);
    ASSERT_TRUE(made.ok()) << made.status();
    source_ = *std::move(made);
    source_->Subscribe(heard_);
  }
  // The agent gives a new SVID, and it is published.
  void PushNext() {
    const certs::Issued next = Next();
    agent_->Push(Response(next, root_.pem()));
    ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  }

  const absl::Time now_ = base::WallTime();
  const std::string address_;
  const certs::Authority root_;
  std::unique_ptr<certs::Agent> agent_;
  const std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
  std::shared_ptr<WorkloadApiSource> source_;
};

TEST_F(WorkloadApiTest, PublishesWhatIsPushed) {
  StartAgent();
  StartSource();
  for (int i = 0; i < 5; ++i) PushNext();
  EXPECT_EQ(agent_->opened(), 1) << "all on one stream";
  EXPECT_THAT(heard_->notices(), ::testing::IsEmpty());
}

TEST_F(WorkloadApiTest, WaitsForAnAgentThatComesLater) {
  StartSource();
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kNoAnswer));
  EXPECT_THAT(heard_->notices()[0].text, ::testing::HasSubstr(address_));
  EXPECT_THAT(heard_->identities(), ::testing::IsEmpty());
  StartAgent();
  PushNext();
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kRecovered));
}

TEST_F(WorkloadApiTest, AnAgentThatRestartsIsFoundAgain) {
  StartAgent();
  StartSource();
  for (int i = 0; i < 3; ++i) {
    PushNext();
    agent_.reset();
    StartAgent();
  }
  PushNext();
  EXPECT_EQ(heard_->identities().size(), 4);
}

TEST_F(WorkloadApiTest, AnAgentDoesNotTakeTheSocketOfAnother) {
  StartAgent();
  EXPECT_TRUE(absl::IsUnavailable(certs::Agent::Start(address_).status()));
  StartSource();
  PushNext();
}

TEST_F(WorkloadApiTest, AStreamThatIsCutIsOpenedAgain) {
  StartAgent();
  StartSource();
  PushNext();
  agent_->Cut();
  PushNext();
  EXPECT_TRUE(heard_->WaitFor([&] { return agent_->opened() >= 2; }));
}

TEST_F(WorkloadApiTest, AnAgentThatRefusesIsToldOfAndAskedAgain) {
  StartAgent();
  StartSource();
  PushNext();
  agent_->Refuse(
      grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no identity issued"));
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kNoAnswer));
  EXPECT_THAT(heard_->notices()[0].text,
              ::testing::HasSubstr("PERMISSION_DENIED: no identity issued"));
  EXPECT_EQ(heard_->identities().size(), 1) << "the last one stays";
  PushNext();
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kRecovered));
}

TEST_F(WorkloadApiTest, AnAgentThatHangsIsLeft) {
  StartAgent();
  StartSource();
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kNoAnswer));
  EXPECT_THAT(heard_->notices()[0].text,
              ::testing::HasSubstr("it does not answer."));
  PushNext();
}

TEST_F(WorkloadApiTest, BadAnswersChangeNothing) {
  StartAgent();
  StartSource();
  PushNext();
  agent_->Push("garbage");
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kBad));
  EXPECT_EQ(heard_->identities().size(), 1);
  PushNext();
  EXPECT_EQ(agent_->opened(), 1) << "the stream is kept";
}

TEST_F(WorkloadApiTest, WhoLeavesLeavesTheAgent) {
  StartAgent();
  StartSource();
  PushNext();
  EXPECT_EQ(agent_->open(), 1);
  source_.reset();
  EXPECT_TRUE(heard_->WaitFor([&] { return agent_->open() == 0; }));
}

TEST_F(WorkloadApiTest, ASourceMayOutliveItsLoop) {
  StartAgent();
  const auto loop = std::make_shared<base::EventLoop>("workload-test");
  auto source = WorkloadApiSource::Make(address_, {}, loop);
  ASSERT_TRUE(source.ok());
  (*source)->Subscribe(heard_);
  PushNext();
  loop->Stop();
  source->reset();
  EXPECT_TRUE(heard_->WaitFor([&] { return agent_->open() == 0; }));
}

// Open descriptors of this process.
int CountFds() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<int>(std::distance(begin(all), end(all)));
}

TEST_F(WorkloadApiTest, NothingOfAStreamStaysWhereThereIsNoThread) {
  StartAgent();
  agent_->Push(Response(Next(), root_.pem()));
  const auto loop = std::make_shared<base::EventLoop>("workload-test");
  const auto open = [&] {
    auto source = WorkloadApiSource::Make(address_, {}, loop);
    EXPECT_TRUE(heard_->WaitFor([&] { return agent_->open() == 1; }));
    return *std::move(source);
  };
  const auto left = [&] { return agent_->open() == 0; };
  open().reset();  // gRPC has its threads from now on.
  ASSERT_TRUE(heard_->WaitFor(left));
  const int before = CountFds();
  for (int i = 0; i < 5; ++i) {
    auto source = open();
    const testing::NoThreads none;
    source.reset();
    ASSERT_TRUE(heard_->WaitFor(left));
  }
  EXPECT_TRUE(heard_->WaitFor([&] { return CountFds() <= before; }))
      << CountFds() << " open descriptors, and there were " << before;
}

TEST_F(WorkloadApiTest, AListOf100000EntriesComesThrough) {
  StartAgent();
  StartSource();
  certs::CrlOptions options{now_ - kHour, now_ + kHour};
  for (int i = 0; i < 100'000; ++i) {
    options.revoked.push_back(absl::StrCat(absl::Hex(i + 1, absl::kZeroPad16)));
  }
  IdentityBytes bytes = BytesOf(Next(), root_.pem());
  bytes.crls = {*root_.MakeCrl(options)};
  agent_->Push(*certs::AgentResponse({{kCart, "", bytes}}));
  ASSERT_TRUE(
      heard_->WaitFor([&] { return heard_->identities().size() == 1; }));
  EXPECT_EQ(heard_->identities()[0]->bytes().crls, bytes.crls);
}

TEST_F(WorkloadApiTest, TheAgentMayBeAtATcpPort) {
  EXPECT_FALSE(WorkloadApiSource::Make("tcp:127.0.0.1").ok());
  // Nobody listens at port 1.
  auto source = WorkloadApiSource::Make("tcp://127.0.0.1:1");
  ASSERT_TRUE(source.ok());
  (*source)->Subscribe(heard_);
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kNoAnswer));
}

TEST(WorkloadTargetTest, ReadsEndpointsAsTheStandardSays) {
  EXPECT_EQ(*WorkloadTarget("unix:///run/spire/agent.sock"),
            "unix:/run/spire/agent.sock");
  EXPECT_EQ(*WorkloadTarget("unix:/a"), "unix:/a");
  EXPECT_EQ(*WorkloadTarget("tcp://127.0.0.1:8000"), "ipv4:127.0.0.1:8000");
  EXPECT_EQ(*WorkloadTarget("tcp:[::1]:80"), "ipv6:[::1]:80");
  for (const absl::string_view bad :
       {"", "/run/agent.sock", "unix:", "unix:/", "unix:agent.sock",
        "unix://host/path", "unix:/a?b", "unix:/a#b", "tcp:", "tcp://:80",
        "tcp:localhost:80", "tcp:127.0.0.1", "tcp:127.0.0.1:0",
        "tcp:127.0.0.1:65536", "tcp:127.0.0.1:80/x", "tcp:::1:x",
        "http://127.0.0.1:80", "dns:agent"}) {
    EXPECT_FALSE(WorkloadTarget(bad).ok()) << bad;
  }
  EXPECT_FALSE(WorkloadTarget(absl::string_view("unix:/a\0b", 9)).ok());
  EXPECT_EQ(WorkloadTarget("dns:agent").status().message(),
            "the Workload API's endpoint must be unix: and an absolute path, "
            "or tcp: with an IP address and a port, is \"dns:agent\".");
}

}  // namespace
}  // namespace mesh::security
