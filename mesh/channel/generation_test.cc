// Calls over real TLS connections while the generations of their secrets
// follow one another.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/channel/channel.h"
#include "mesh/service/runtime.h"
#include "mesh/service/secrets.h"
#include "mesh/service/service.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::channel {
namespace {

using test::TestService;

absl::Time Now() { return base::Clock::Real().Now(); }

// Tells whose certificate each call shows. It never answers a stream, nor a
// call whose payload is "hang", until it is cancelled.
class Door final : public TestService::Service {
 public:
  explicit Door(const std::shared_ptr<grpc::ServerCredentials>& credentials) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Door() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int cancelled() const { return cancelled_.load(); }

  grpc::Status Unary(grpc::ServerContext* context, const test::Request* request,
                     test::Reply* reply) override {
    if (request->payload() == "hang") Hang(context);
    const auto shown =
        context->auth_context()->FindPropertyValues("x509_pem_cert");
    const auto serial = certs::SerialOfPem(
        shown.empty() ? "" : std::string(shown[0].data(), shown[0].size()));
    reply->set_payload(
        absl::StrCat(serial.value_or("none"), " ", context->peer()));
    return grpc::Status::OK;
  }
  grpc::Status Bidi(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<test::Reply, test::Request>*) override {
    Hang(context);
    return grpc::Status::OK;
  }

 private:
  void Hang(grpc::ServerContext* context) {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    ++cancelled_;
  }

  std::atomic<int> cancelled_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// What credentials were made with, one after the other.
struct Made {
  base::Mutex mu;
  std::vector<service::Secrets::Expires> expires ABSL_GUARDED_BY(mu);
};

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() : first_(MakeRoot("first")), second_(MakeRoot("second")) {
    grpc::SslServerCredentialsOptions tls(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    const certs::Issued shown =
        first_.Issue(certs::ServerOptions({"cart.prod"}, Then(-1), Then(100)))
            .value();
    tls.pem_root_certs = first_.pem() + second_.pem();
    tls.pem_key_cert_pairs = {{shown.key, shown.chain}};
    for (int i = 0; i < 2; ++i) {
      doors_.push_back(std::make_unique<Door>(grpc::SslServerCredentials(tls)));
    }
  }
  ~GenerationTest() override {
    stub_.reset();
    channel_.reset();
    service_.reset();
  }

  static absl::Time Then(int hours) {
    return absl::FromUnixSeconds(absl::ToUnixSeconds(base::WallTime())) +
           absl::Hours(hours);
  }
  static certs::Authority MakeRoot(const std::string& name) {
    return certs::Authority::MakeRoot(
               certs::AuthorityOptions(name, Then(-1), Then(100)),
               certs::Key::Make(certs::KeyType::kP256).value())
        .value();
  }

  // A generation with a new leaf of `root`. Returns its serial number.
  std::string Publish(const certs::Authority& root, uint64_t withdrawn_before,
                      absl::Duration spread) {
    const certs::Issued leaf =
        root.Issue(certs::ClientOptions({"front"}, Then(-1), Then(100)))
            .value();
    auto secrets = std::make_shared<service::Secrets>();
    secrets->generation = ++generation_;
    secrets->withdrawn_before = withdrawn_before;
    secrets->spread = spread;
    secrets->make = [made = made_, leaf,
                     roots = first_.pem()](service::Secrets::Expires expires) {
      {
        base::MutexLock lock(&made->mu);
        made->expires.push_back(std::move(expires));
      }
      return grpc::SslCredentials({roots, leaf.key, leaf.chain});
    };
    service_->Configure(options_, std::move(secrets), absl::OkStatus(),
                        /*version=*/1);
    return leaf.serial;
  }
  void Start(size_t doors) {
    auto set = std::make_shared<cluster::EndpointSet>();
    for (size_t i = 0; i < doors; ++i) {
      set->endpoints.emplace_back();
      set->endpoints.back().address = doors_[i]->address();
    }
    auto options = std::make_shared<options::ServiceOptions>();
    options->authority = "cart.prod";
    options->source = cluster::EndpointSetPtr(std::move(set));
    options_ = std::move(options);
    service_ = service::Service::Create(runtime_, "cart", options_);
  }
  void Open() {
    service_->Start();
    channel_ =
        std::make_shared<Channel>(service_, core::InterceptorFactories());
    stub_ = TestService::NewStub(channel_);
  }

  // The serial number that the server saw, and from where.
  std::pair<std::string, std::string> Call() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(10));
    test::Reply reply;
    const grpc::Status status = stub_->Unary(&context, test::Request(), &reply);
    if (!status.ok()) {
      ++failed_;
      ADD_FAILURE() << status.error_message();
    }
    const std::string& said = reply.payload();
    const size_t space = said.find(' ');
    return {said.substr(0, space), said.substr(space + 1)};
  }

  const certs::Authority first_;
  const certs::Authority second_;
  std::vector<std::unique_ptr<Door>> doors_;
  const std::shared_ptr<service::Runtime> runtime_ =
      std::make_shared<service::Runtime>(
          LogSink(), std::vector<std::shared_ptr<telemetry::Observer>>(),
          std::map<std::string, Fallback>(), options::TelemetryOptions(),
          options::LimitsOptions(), nullptr);
  std::shared_ptr<const options::ServiceOptions> options_;
  std::shared_ptr<service::Service> service_;
  std::shared_ptr<Channel> channel_;
  std::unique_ptr<TestService::Stub> stub_;
  uint64_t generation_ = 0;
  int failed_ = 0;
  const std::shared_ptr<Made> made_ = std::make_shared<Made>();
};

TEST_F(GenerationTest, NoCallIsLostWhileConnectionsAreRenewed) {
  Start(2);
  Publish(first_, 0, absl::Milliseconds(300));
  Open();
  Call();
  std::string newest;
  uint64_t most = 0;
  for (int i = 0; i < 16; ++i) {
    // Both authorities are trusted. Sometimes the one before is withdrawn.
    newest = Publish(i % 2 == 0 ? first_ : second_,
                     i % 4 == 3 ? generation_ : 0, absl::Milliseconds(300));
    const absl::Time until = Now() + absl::Milliseconds(300);
    while (Now() < until && failed_ == 0) {
      Call();
      most = std::max(most, service_->Metrics().generations_open);
    }
  }
  EXPECT_EQ(failed_, 0);
  EXPECT_LE(most, 3u);
  // The last one reaches both servers.
  const absl::Time by = Now() + absl::Seconds(5);
  std::set<std::string> serials;
  do {
    serials.clear();
    for (int i = 0; i < 50; ++i) serials.insert(Call().first);
  } while (Now() < by && serials != std::set<std::string>{newest});
  EXPECT_EQ(serials, std::set<std::string>{newest});
  const telemetry::ServiceSnapshot metrics = service_->Metrics();
  EXPECT_EQ(metrics.health_changes.size(), 0u);
  EXPECT_EQ(metrics.retries_denied_by_budget, 0u);
  for (const telemetry::MethodSnapshot& method : metrics.methods) {
    EXPECT_EQ(method.retries + method.hedges, 0u);
  }
}

TEST_F(GenerationTest, WhatRunsOnAWithdrawnConnectionEndsInFiveSeconds) {
  Start(1);
  Publish(first_, 0, absl::Seconds(30));
  Open();
  const std::string before = Call().second;
  grpc::ClientContext context;
  const auto stream = stub_->Bidi(&context);
  ASSERT_TRUE(stream->Write(test::Request()));
  grpc::Status hung;
  std::thread unary([this, &hung] {
    grpc::ClientContext context;
    test::Request request;
    request.set_payload("hang");
    test::Reply reply;
    hung = stub_->Unary(&context, request, &reply);
  });
  absl::SleepFor(absl::Milliseconds(200));

  const absl::Time withdrawn = Now();
  const std::string serial = Publish(second_, generation_ + 1, {});
  while (Call().first != serial && Now() < withdrawn + absl::Seconds(4)) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_LT(Now() - withdrawn, absl::Seconds(2));
  EXPECT_NE(Call().second, before);
  EXPECT_EQ(doors_[0]->cancelled(), 0) << "they may go on for a while";
  test::Reply reply;
  EXPECT_FALSE(stream->Read(&reply));
  const grpc::Status status = stream->Finish();
  unary.join();
  EXPECT_GT(Now() - withdrawn, absl::Seconds(4));
  EXPECT_LT(Now() - withdrawn, absl::Seconds(5));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(absl::StrContains(status.error_message(), "holds no longer"))
      << status.error_message();
  EXPECT_EQ(hung.error_code(), grpc::StatusCode::UNAVAILABLE)
      << hung.error_message();
  for (int i = 0; i < 200 && doors_[0]->cancelled() < 2; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(doors_[0]->cancelled(), 2);
  using ByGeneration = std::map<uint64_t, uint64_t>;
  for (int i = 0; i < 200 && service_->Metrics().generations_open > 1; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(service_->Metrics().connections_by_generation,
            (ByGeneration{{2, 1}}));
  EXPECT_EQ(failed_, 0);
}

TEST_F(GenerationTest, APeerThatExpiresIsConnectedToAnew) {
  Start(1);
  Publish(first_, 0, absl::Seconds(30));
  Open();
  const std::string before = Call().second;
  {
    base::MutexLock lock(&made_->mu);
    ASSERT_EQ(made_->expires.size(), 1u) << "once for each connection";
    made_->expires[0](base::WallTime() + absl::Milliseconds(300));
  }
  EXPECT_EQ(Call().second, before);
  const absl::Time by = Now() + absl::Seconds(3);
  while (Call().second == before && Now() < by) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_LT(Now(), by);
  EXPECT_EQ(failed_, 0);
  base::MutexLock lock(&made_->mu);
  EXPECT_EQ(made_->expires.size(), 2u);
}

TEST_F(GenerationTest, CallsWaitForTheFirstIdentity) {
  Start(1);
  service_->Configure(options_, std::make_shared<service::Secrets>(),
                      absl::OkStatus(), /*version=*/1);
  Open();
  std::string serial;
  std::thread call([&] { serial = Call().first; });
  absl::SleepFor(absl::Milliseconds(300));
  const std::string newest = Publish(first_, 0, {});
  call.join();
  EXPECT_EQ(serial, newest);
  EXPECT_EQ(failed_, 0);
}

}  // namespace
}  // namespace mesh::channel
