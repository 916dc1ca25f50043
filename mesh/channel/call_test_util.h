#ifndef MESH_CHANNEL_CALL_TEST_UTIL_H_
#define MESH_CHANNEL_CALL_TEST_UTIL_H_

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/channel/channel.h"
#include "mesh/grpc/fake_core.h"
#include "mesh/options/service.h"
#include "mesh/service/service.h"
#include "mesh/service/service_test_util.h"
#include "tests/support/test_service.grpc.pb.h"

// Calls of real stubs over a fake core: no server, no thread, no clock.

namespace mesh::channel {

// One service, its channel, and a stub on it. Endpoints are known by name, and
// FakeCore's calls by the endpoint that they are on.
class FakeWorld {
 public:
  using Stub = test::TestService::Stub;

  // Idempotent methods that are tried three times, and endpoints "a", "b", "c"
  // that are connected, unless `options` or `endpoints` say otherwise.
  explicit FakeWorld(options::ServiceOptions options = Idempotent(),
                     const std::vector<std::string>& endpoints = {"a", "b",
                                                                  "c"},
                     core::InterceptorFactories interceptors = {},
                     std::map<std::string, Fallback> fallbacks = {})
      : fake_(std::make_unique<service::FakeRuntime>(
            std::vector<std::shared_ptr<telemetry::Observer>>(),
            std::move(fallbacks))) {
    fake_->network.core = [this](const std::string& address, bool) {
      return core_.Channel(address);
    };
    auto shared = std::make_shared<const options::ServiceOptions>(options);
    service_ = service::Service::Create(fake_->runtime, "test", shared);
    service_->Configure(
        shared, service::FixedSecrets(grpc::InsecureChannelCredentials()),
        absl::OkStatus(), /*version=*/0);
    service_->Start();
    loop().Run();
    channel_ = std::make_shared<Channel>(service_, std::move(interceptors));
    stub_ = test::TestService::NewStub(channel_);
    loop().Run();
    if (!endpoints.empty()) Connect(endpoints);
  }

  ~FakeWorld() {
    core_.RunAll();
    stub_.reset();
    channel_.reset();
    service_.reset();
    loop().Run();
    fake_.reset();
    EXPECT_EQ(core_.live(), 0u);
  }

  static options::ServiceOptions Idempotent() {
    options::ServiceOptions options;
    options.name = "test";
    options.authority = "test";
    options.source =
        cluster::EndpointSetPtr(std::make_shared<cluster::EndpointSet>());
    options.balancing = options::BalancingPolicy::kRoundRobin;
    options.retry_budget.min_per_second = 1e6;
    options.policy.idempotent = true;
    options.policy.retry.initial_backoff = absl::Milliseconds(10);
    options.policy.retry.max_backoff = absl::Milliseconds(10);
    return options;
  }

  // Sets the endpoints from now on, all connected.
  void Connect(const std::vector<std::string>& endpoints) {
    fake_->discovery.Report(endpoints);
    loop().Run();
    for (const std::string& endpoint : endpoints) {
      fake_->network.Set(endpoint, GRPC_CHANNEL_CONNECTING);
      fake_->network.Set(endpoint, GRPC_CHANNEL_READY);
    }
    loop().Run();
  }

  core::FakeCore& core() { return core_; }
  testing::FakeLoop& loop() { return fake_->loop; }
  service::FakeRuntime& fake() { return *fake_; }
  service::Service& service() { return *service_; }
  const std::shared_ptr<Channel>& channel() { return channel_; }
  Stub& stub() { return *stub_; }
  grpc::CompletionQueue* queue() { return &queue_; }

  // Runs the core and the loop until neither has anything to do now.
  void Settle() {
    for (int i = 0; i < 100; ++i) {
      core_.RunAll();
      loop().Run();
      if (core_.ready() == 0) break;
    }
    for (const core::FakeEvent& event : core_.TakeDelivered()) {
      events_.push_back(event);
    }
    // The real core has these: answers from inside the process.
    void* tag = nullptr;
    bool ok = false;
    while (queue_.AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_REALTIME)) ==
           grpc::CompletionQueue::GOT_EVENT) {
      events_.push_back({tag, ok});
    }
  }

  // How often the application got `tag`, and with which result the last time.
  int Got(void* tag, bool* ok = nullptr) const {
    int got = 0;
    for (const core::FakeEvent& event : events_) {
      if (event.tag != tag) continue;
      ++got;
      if (ok != nullptr) *ok = event.ok;
    }
    return got;
  }

  // Attempts in flight, as the endpoints count.
  int64_t InFlight() {
    int64_t all = 0;
    for (const auto& endpoint : service_->Snapshot()->endpoints) {
      all += endpoint->in_flight();
    }
    return all;
  }

  static std::string Bytes(const std::string& payload) {
    test::Reply reply;
    reply.set_payload(payload);
    return reply.SerializeAsString();
  }

 private:
  core::FakeCore core_;  // First: others use it to the end.
  grpc::CompletionQueue queue_;
  std::unique_ptr<service::FakeRuntime> fake_;
  std::shared_ptr<service::Service> service_;
  std::shared_ptr<Channel> channel_;
  std::unique_ptr<Stub> stub_;
  std::vector<core::FakeEvent> events_;
};

// A unary call of the asynchronous API.
struct FakeUnary {
  // Begins the call and, unless `prepare`, starts all of its batch.
  explicit FakeUnary(FakeWorld* world, const std::string& payload = "hello",
                     bool prepare = false)
      : FakeUnary(world, payload, prepare, [](grpc::ClientContext*) {}) {}
  FakeUnary(FakeWorld* world, const std::string& payload, bool prepare,
            const std::function<void(grpc::ClientContext*)>& set_up)
      : world(world), context(std::make_unique<grpc::ClientContext>()) {
    request.set_payload(payload);
    set_up(context.get());
    reader = prepare ? world->stub().PrepareAsyncUnary(context.get(), request,
                                                       world->queue())
                     : world->stub().AsyncUnary(context.get(), request,
                                                world->queue());
  }
  void Finish() { reader->Finish(&reply, &status, this); }
  void ReadInitialMetadata() { reader->ReadInitialMetadata(&reply); }

  bool done() const { return world->Got(const_cast<FakeUnary*>(this)) > 0; }

  FakeWorld* const world;
  std::unique_ptr<grpc::ClientContext> context;
  test::Request request;
  test::Reply reply;
  grpc::Status status = grpc::Status(grpc::StatusCode::UNKNOWN, "unset");
  std::unique_ptr<grpc::ClientAsyncResponseReader<test::Reply>> reader;
};

// All orders of 0..n-1.
inline std::vector<std::vector<int>> Orders(int n) {
  std::vector<int> order(n);
  for (int i = 0; i < n; ++i) order[i] = i;
  std::vector<std::vector<int>> all;
  do {
    all.push_back(order);
  } while (std::next_permutation(order.begin(), order.end()));
  return all;
}

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_CALL_TEST_UTIL_H_
