// The configuration file changes while calls run.

#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/base/mutex.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

using testing::HasSubstr;
using Names = std::set<std::string>;

// Lines that a mesh logged.
class Log {
 public:
  LogSink Sink() {
    return [this](LogSeverity, absl::string_view line) {
      base::MutexLock lock(&mu_);
      absl::StrAppend(&text_, line, "\n");
    };
  }
  std::string Text() const {
    base::MutexLock lock(&mu_);
    return text_;
  }

 private:
  mutable base::Mutex mu_;
  std::string text_ ABSL_GUARDED_BY(mu_);
};

class ReloadTest : public testing::Test {
 protected:
  ReloadTest() {
    for (int i = 0; i < 4; ++i) {
      TestServer::Options options;
      options.name = std::string(1, static_cast<char>('a' + i));
      servers_.push_back(TestServer::Start(std::move(options)).value());
    }
    WriteConfig(ServiceText("test", {0, 1}));
    Options options;
    options.log_sink = log_.Sink();
    mesh_ = Mesh::FromFile(path_, std::move(options)).value();
    stub_ = StubOf(*mesh_);
  }

  // YAML of one service, with `more` as further lines of it.
  std::string ServiceText(const std::string& name,
                          const std::vector<int>& servers,
                          const std::string& more = "") const {
    std::string text = absl::StrCat("  ", name, ":\n    endpoints:\n");
    for (const int i : servers) {
      absl::StrAppend(&text, "      - ", servers_[i]->address(), "\n");
    }
    return text + more;
  }

  void WriteConfig(const std::string& services) {
    path_ = directory_.Write("mesh.yaml", "services:\n" + services);
  }

  // Until the reload after `write` has been applied, or refused.
  template <typename Write>
  void Reload(Write write) {
    const telemetry::Snapshot before = mesh_->Metrics();
    write();
    EXPECT_TRUE(WaitUntil([&] {
      const telemetry::Snapshot now = mesh_->Metrics();
      return now.config_reloads + now.config_reload_failures >
             before.config_reloads + before.config_reload_failures;
    }));
  }
  void Reload(const std::string& services) {
    Reload([&] { WriteConfig(services); });
  }

  static bool ServedOnlyBy(TestService::Stub& stub, const Names& names) {
    return WaitUntil([&] {
      Names seen;
      Request request;
      request.mutable_directives()->set_echo(true);
      for (int i = 0; i < 40; ++i) {
        Reply reply;
        if (!CallUnary(stub, request, &reply).ok()) return false;
        seen.insert(reply.seen().server());
      }
      return seen == names;
    });
  }

  // The next call's connection, as the servers see it.
  std::string Peer() {
    Request request;
    request.mutable_directives()->set_echo(true);
    Reply reply;
    EXPECT_TRUE(CallUnary(*stub_, request, &reply).ok());
    return reply.seen().peer();
  }

  TempDirectory directory_;
  std::vector<std::unique_ptr<TestServer>> servers_;
  std::string path_;
  Log log_;
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<TestService::Stub> stub_;
};

TEST_F(ReloadTest, SaysWhatOfAChangeIsNotApplied) {
  Reload(ServiceText("test", {0, 1}) + "limits: {stream_retry_bytes: 7}\n");
  EXPECT_THAT(log_.Text(), testing::Not(testing::HasSubstr("not applied")));
  Reload(ServiceText("test", {0, 1}) + "telemetry: {max_methods: 7}\n");
  EXPECT_THAT(log_.Text(), testing::HasSubstr("telemetry holds from the start "
                                              "of the Mesh"));
}

TEST_F(ReloadTest, NoCallIsLostWhileEndpointsAndPolicyChange) {
  ASSERT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));
  Request request;
  request.mutable_directives()->set_sleep_ms(2);
  Load load(0, 8, [&](int64_t) { return CallOnce(*stub_, request); });

  Reload(ServiceText("test", {1, 2}));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"b", "c"})));
  Reload(ServiceText("test", {3},
                     "    load_balancing: {policy: ROUND_ROBIN}\n"
                     "    policy: {idempotent: true, timeout: 5s}\n"));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"d"})));
  Reload(ServiceText("test", {0, 1, 2, 3}));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b", "c", "d"})));

  load.Stop();
  EXPECT_EQ(load.failed(), 0) << load.Failures();
  EXPECT_GT(load.calls(), 100);
  EXPECT_EQ(mesh_->Metrics().config_reloads, 3u);
}

TEST_F(ReloadTest, PolicyOfLaterCallsIsTheNewOne) {
  Request slow;
  slow.mutable_directives()->set_sleep_ms(5000);
  Reload(ServiceText("test", {0, 1}, "    policy: {timeout: 0.05s}\n"));
  EXPECT_TRUE(WaitUntil([&] {
    const absl::Time start = absl::Now();
    const grpc::Status status = CallUnary(*stub_, slow);
    return status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
           absl::Now() - start < absl::Seconds(4);
  }));
}

TEST_F(ReloadTest, ServicesCanBeAddedAndRemoved) {
  const auto other = StubOf(*mesh_, "other");
  const grpc::Status unknown = CallUnary(*other, Request());
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(unknown.error_message(), HasSubstr("other"));

  Reload(ServiceText("test", {0}) + ServiceText("other", {2}));
  EXPECT_TRUE(ServedOnlyBy(*other, Names({"c"})));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"a"})));

  Reload(ServiceText("other", {2}));
  EXPECT_TRUE(WaitUntil([&] { return !CallUnary(*stub_, Request()).ok(); }));
  const grpc::Status removed = CallUnary(*stub_, Request());
  EXPECT_EQ(removed.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(removed.error_message(), HasSubstr("\"test\""));
  EXPECT_TRUE(ServedOnlyBy(*other, Names({"c"})));

  Reload(ServiceText("test", {1}));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"b"})));
}

TEST_F(ReloadTest, ABadFileChangesNothingAndIsSeen) {
  ASSERT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));
  // One service is right and the other is not: neither is applied.
  Reload(ServiceText("test", {2}) +
         ServiceText("other", {3}, "    retrys: {}\n"));

  const telemetry::Snapshot metrics = mesh_->Metrics();
  EXPECT_EQ(metrics.config_reloads, 0u);
  EXPECT_EQ(metrics.config_reload_failures, 1u);
  EXPECT_THAT(metrics.config_error, HasSubstr("mesh.yaml:8:5"));
  EXPECT_THAT(metrics.config_error, HasSubstr("retrys"));
  EXPECT_THAT(log_.Text(), HasSubstr("retrys"));
  EXPECT_THAT(mesh_->PrometheusText(), HasSubstr("reload"));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));

  Reload(ServiceText("test", {2}));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"c"})));
  EXPECT_EQ(mesh_->Metrics().config_error, "");
}

TEST_F(ReloadTest, ADeletedFileChangesNothingAndIsSeen) {
  ASSERT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));
  Reload([&] { ASSERT_EQ(std::remove(path_.c_str()), 0); });
  EXPECT_EQ(mesh_->Metrics().config_reload_failures, 1u);
  EXPECT_THAT(mesh_->Metrics().config_error, HasSubstr("mesh.yaml"));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));

  Reload(ServiceText("test", {3}));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"d"})));
}

TEST_F(ReloadTest, ConnectionsToEndpointsThatStayAreKept) {
  Reload(ServiceText("test", {0}));
  ASSERT_TRUE(ServedOnlyBy(*stub_, Names({"a"})));
  const std::string peer = Peer();
  Reload(ServiceText("test", {0}, "    policy: {timeout: 5s}\n"));
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(Peer(), peer);
}

TEST_F(ReloadTest, AStreamOutlivesAReloadThatRemovesItsEndpointAndItsService) {
  grpc::ClientContext context;
  const auto stream = stub_->Bidi(&context);
  Reply reply;
  ASSERT_TRUE(stream->Write(Request()));
  ASSERT_TRUE(stream->Read(&reply));
  Reload(ServiceText("test", {2}));
  Reload(ServiceText("other", {2}));
  ASSERT_TRUE(WaitUntil([&] { return !CallUnary(*stub_, Request()).ok(); }));

  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(stream->Write(Request()));
    ASSERT_TRUE(stream->Read(&reply));
  }
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ReloadTest, FromCodeIsAppliedOrRefusedAsAWhole) {
  ASSERT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));
  v1::Config bad = OneService({servers_[2]->address()});
  (*bad.mutable_services())["other"].add_endpoints()->set_address("nonsense");
  const absl::Status status = mesh_->Reload(bad);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("services.other"));
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"a", "b"})));

  EXPECT_TRUE(mesh_->Reload(OneService({servers_[2]->address()})).ok());
  EXPECT_TRUE(ServedOnlyBy(*stub_, Names({"c"})));
}

}  // namespace
}  // namespace mesh::test
