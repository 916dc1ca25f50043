#include "mesh/service/service.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

using balancing::PickResult;
using Kind = balancing::PickResult::Kind;
using Addresses = std::vector<std::string>;

class FakeWaiter final : public Waiter {
 public:
  void OnTimer() override { wakes.push_back("timer"); }
  void OnEndpointsChanged() override { wakes.push_back("endpoints"); }
  void OnCancelled() override { wakes.push_back("cancelled"); }

  std::vector<std::string> wakes;
};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() { options_.authority = "cart.example"; }
  ~ServiceTest() override {
    service_.reset();
    Run();
  }

  std::shared_ptr<const options::ServiceOptions> Options() {
    return std::make_shared<const options::ServiceOptions>(options_);
  }
  void Create(std::shared_ptr<const options::ServiceOptions> options) {
    service_ = Service::Create(fake_.runtime, "cart", std::move(options));
  }
  void Configure() {
    service_->Configure(Options(), secrets_, absl::OkStatus(), /*version=*/0);
  }
  void Forget() {
    service_->Configure(nullptr, nullptr, absl::NotFoundError("no cart"),
                        /*version=*/0);
  }
  // As a channel does it first of all.
  void Begin() {
    Create(Options());
    Configure();
    service_->Start();
    Run();
  }
  // Its one endpoint has refused, and waits for its backoff.
  void BeginWithAFailure() {
    Begin();
    fake_.discovery.Report({"a:1"});
    Run();
    Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
    EXPECT_EQ(State(), GRPC_CHANNEL_TRANSIENT_FAILURE);
    EXPECT_EQ(fake_.network.made("a:1"), 1);
  }
  void Ask(Waiter* waiter) {
    service_->Park(waiter, service_->Snapshot().get(), /*asks=*/true,
                   absl::InfiniteFuture(), nullptr);
    Run();
  }
  void Run() { fake_.loop.Run(); }
  void Set(const std::string& address, grpc_connectivity_state state) {
    fake_.network.Set(address, state);
    Run();
  }
  // Picks once, and gives the endpoint back.
  Kind Pick(absl::Status* status = nullptr) {
    base::Random random(1);
    balancing::PickArgs args;
    args.random = &random;
    const PickResult pick = service_->Snapshot()->picker->Pick(args);
    if (pick.endpoint != nullptr) pick.endpoint->Release();
    if (status != nullptr && pick.status != nullptr) *status = *pick.status;
    return pick.kind;
  }
  Addresses Endpoints() {
    Addresses addresses;
    for (const auto& endpoint : service_->Snapshot()->endpoints) {
      addresses.push_back(endpoint->endpoint().address);
    }
    return addresses;
  }
  grpc_connectivity_state State() {
    return service_->GetState(/*try_to_connect=*/false);
  }

  FakeRuntime fake_;
  SecretsPtr secrets_ = FixedSecrets(grpc::InsecureChannelCredentials());
  options::ServiceOptions options_;
  std::shared_ptr<Service> service_;
};

// --- A name without addresses

class NamedServiceTest : public ServiceTest {
 protected:
  NamedServiceTest() {
    options::DnsOptions dns;
    dns.name = "cart.example";
    dns.port = 80;
    options_.source = dns;
  }
  // Believed at the third time.
  void ReportEmpty() {
    for (int i = 0; i < 3; ++i) fake_.discovery.Report({});
    Run();
  }
};

TEST_F(NamedServiceTest, AnEmptyAnswerTakesAwayNoEndpointThatIsConnected) {
  Begin();
  fake_.discovery.Report({"a", "b"});
  Run();
  Set("a", GRPC_CHANNEL_CONNECTING);
  Set("a", GRPC_CHANNEL_READY);
  ReportEmpty();
  EXPECT_EQ(Endpoints(), Addresses({"a"}));
  EXPECT_EQ(Pick(), Kind::kUse);
  fake_.loop.Advance(absl::Minutes(10));
  EXPECT_EQ(Endpoints(), Addresses({"a"}));
  Set("a", GRPC_CHANNEL_TRANSIENT_FAILURE);
  fake_.loop.Advance(absl::Seconds(8));
  EXPECT_EQ(Endpoints(), Addresses({"a"})) << "it may come back";
  fake_.loop.Advance(absl::Seconds(4));
  EXPECT_EQ(Endpoints(), Addresses());
  fake_.discovery.Report({"b", "c"});
  Run();
  EXPECT_EQ(Endpoints(), Addresses({"b", "c"}));
  fake_.loop.Advance(absl::Minutes(1));
  EXPECT_EQ(Endpoints(), Addresses({"b", "c"}));
}

TEST_F(NamedServiceTest, WhereTheOldAddressesAreOfNoUseItAsksAgain) {
  Begin();
  fake_.discovery.Report({"a"});
  Run();
  Set("a", GRPC_CHANNEL_CONNECTING);
  Set("a", GRPC_CHANNEL_READY);
  ReportEmpty();
  service_->OnNoEndpoint();
  Run();
  EXPECT_EQ(fake_.discovery.asked_again(), 0);
  Set("a", GRPC_CHANNEL_IDLE);
  Set("a", GRPC_CHANNEL_TRANSIENT_FAILURE);
  fake_.loop.Advance(absl::Seconds(2));
  ASSERT_EQ(Endpoints(), Addresses({"a"})) << "it may come back";
  FakeWaiter waiter;
  Ask(&waiter);
  EXPECT_EQ(fake_.discovery.asked_again(), 1);
  fake_.loop.Advance(absl::Seconds(2));
}

TEST_F(NamedServiceTest, AnotherNameDoesNotKeepTheServersOfThisOne) {
  Begin();
  fake_.discovery.Report({"a"});
  Run();
  Set("a", GRPC_CHANNEL_CONNECTING);
  Set("a", GRPC_CHANNEL_READY);
  options::DnsOptions other;
  other.name = "other.example";
  other.port = 80;
  options_.source = other;
  Configure();
  Run();
  EXPECT_EQ(Endpoints(), Addresses({"a"})) << "until there is an answer";
  ReportEmpty();
  EXPECT_EQ(Endpoints(), Addresses());
}

TEST_F(NamedServiceTest, ACallWithoutAnyEndpointMakesItAskAgainEachSecond) {
  Begin();
  fake_.discovery.Report({});
  Run();
  for (int i = 0; i < 10; ++i) service_->OnNoEndpoint();
  Run();
  EXPECT_EQ(fake_.discovery.asked_again(), 1);
  fake_.loop.Advance(absl::Seconds(1));
  service_->OnNoEndpoint();
  Run();
  EXPECT_EQ(fake_.discovery.asked_again(), 2);
  FakeWaiter waiter;
  service_->Park(&waiter, service_->Snapshot().get(), /*asks=*/false,
                 absl::InfiniteFuture(), nullptr);
  Run();
  EXPECT_EQ(fake_.discovery.asked_again(), 3);
  fake_.discovery.Report({"a"});
  Run();
  fake_.loop.Advance(absl::Seconds(1));
  service_->OnNoEndpoint();
  Run();
  EXPECT_EQ(fake_.discovery.asked_again(), 3);
}

TEST_F(NamedServiceTest, ANameThatCannotBeResolvedIsAFailure) {
  Begin();
  EXPECT_EQ(State(), GRPC_CHANNEL_IDLE);
  fake_.discovery.ReportError(absl::NotFoundError("no such name"));
  Run();
  EXPECT_EQ(State(), GRPC_CHANNEL_TRANSIENT_FAILURE);
}

TEST_F(ServiceTest, AnEmptyFileTakesAllEndpointsAway) {
  options_.source = options::EndpointsFileOptions{"/endpoints.yaml"};
  Begin();
  fake_.discovery.Report({"a"});
  Run();
  Set("a", GRPC_CHANNEL_CONNECTING);
  Set("a", GRPC_CHANNEL_READY);
  for (int i = 0; i < 3; ++i) fake_.discovery.Report({});
  Run();
  EXPECT_EQ(Endpoints(), Addresses());
}

// --- Configuration

TEST_F(ServiceTest, ACallMadeAtOnceHasItsPolicyAndWaits) {
  options_.policy.timeout = absl::Seconds(7);
  Create(Options());
  EXPECT_EQ(Pick(), Kind::kWait);
  EXPECT_EQ(service_->Snapshot()->policies.Of(nullptr, "/a.A/A").timeout,
            absl::Seconds(7));
  EXPECT_EQ(State(), GRPC_CHANNEL_IDLE);
}

TEST_F(ServiceTest, TheFirstConfigurationIsInForceAtOnce) {
  Create(nullptr);
  options_.policy.timeout = absl::Seconds(7);
  Configure();
  EXPECT_EQ(service_->Snapshot()->policies.Of(nullptr, "/a.A/A").timeout,
            absl::Seconds(7));
  options_.policy.timeout = absl::Seconds(8);
  Configure();
  EXPECT_EQ(service_->Snapshot()->policies.Of(nullptr, "/a.A/A").timeout,
            absl::Seconds(7));
  Run();
  EXPECT_EQ(service_->Snapshot()->policies.Of(nullptr, "/a.A/A").timeout,
            absl::Seconds(8));
}

TEST_F(ServiceTest, CallsOfAnUnknownServiceFail) {
  Create(nullptr);
  Forget();
  EXPECT_EQ(Pick(), Kind::kDrop) << "at once";
  Run();
  absl::Status status;
  EXPECT_EQ(Pick(&status), Kind::kDrop);
  EXPECT_EQ(status, absl::NotFoundError("no cart"));
  EXPECT_EQ(State(), GRPC_CHANNEL_TRANSIENT_FAILURE);
}

TEST_F(ServiceTest, AServiceThatBecomesUnknownLosesItsEndpoints) {
  Begin();
  fake_.discovery.Report({"a:1"});
  EXPECT_EQ(fake_.network.live("a:1"), 1);
  Set("a:1", GRPC_CHANNEL_READY);
  Forget();
  Run();
  EXPECT_TRUE(Endpoints().empty());
  EXPECT_FALSE(fake_.discovery.running());
  EXPECT_EQ(fake_.network.live("a:1"), 0);
  // It may come back.
  Configure();
  Run();
  EXPECT_TRUE(fake_.discovery.running());
  EXPECT_EQ(Pick(), Kind::kWait);
  fake_.discovery.Report({"b:1"});
  EXPECT_EQ(Endpoints(), (Addresses{"b:1"}));
}

TEST_F(ServiceTest, DiscoveryBeginsWithAChannelAndAConfiguration) {
  Create(Options());
  Configure();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 0);
  service_->Start();
  service_->Start();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 1);
}

TEST_F(ServiceTest, DiscoveryBeginsWithTheConfigurationThatComesLast) {
  Create(nullptr);
  service_->Start();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 0);
  Configure();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 1);
}

TEST_F(ServiceTest, OnlyAnotherSourceIsDiscoveredAnew) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Configure();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 1);
  options_.source = options::EndpointsFileOptions{"endpoints.yaml"};
  Configure();
  Run();
  EXPECT_EQ(fake_.discovery.made(), 2);
  EXPECT_EQ(Endpoints(), (Addresses{"a:1"})) << "until there are others";
}

TEST_F(ServiceTest, OtherSettingsOfConnectionsMakeAllAnew) {
  Begin();
  fake_.discovery.Report({"a:1"});
  const cluster::LiveEndpointPtr old = service_->Snapshot()->endpoints[0];
  const auto first = fake_.network.newest("a:1");
  ASSERT_TRUE(old->Acquire());
  options_.authority = "other.example";
  Configure();
  Run();
  EXPECT_NE(service_->Snapshot()->endpoints[0], old);
  EXPECT_EQ(Endpoints(), (Addresses{"a:1"}));
  EXPECT_TRUE(old->closed());
  EXPECT_EQ(fake_.network.live("a:1"), 2);
  EXPECT_EQ(fake_.network.last_settings().authority, "other.example");
  old->Release();
  first(GRPC_CHANNEL_READY);  // Until then it is not closed.
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(fake_.network.live("a:1"), 1);
}

TEST_F(ServiceTest, CallsGoOnWhileOtherSettingsAreConnectedWith) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  const cluster::LiveEndpointPtr old = service_->Snapshot()->endpoints[0];
  options_.authority = "other.example";
  Configure();
  Run();
  EXPECT_EQ(service_->Snapshot()->endpoints[0], old);
  EXPECT_EQ(Pick(), Kind::kUse);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_NE(service_->Snapshot()->endpoints[0], old);
  EXPECT_EQ(Pick(), Kind::kUse);
  EXPECT_TRUE(old->closed());
  EXPECT_EQ(fake_.network.live("a:1"), 1);
}

// --- Secrets

class SecretsTest : public ServiceTest {
 protected:
  // There is no identity yet.
  void UseNone(absl::Status missing) {
    auto secrets = std::make_shared<Secrets>();
    secrets->missing = std::move(missing);
    secrets_ = std::move(secrets);
  }
  void Use(uint64_t generation, uint64_t withdrawn_before = 0) {
    auto secrets = std::make_shared<Secrets>();
    secrets->make = [](const Secrets::Expires&) {
      return grpc::InsecureChannelCredentials();
    };
    secrets->generation = generation;
    secrets->withdrawn_before = withdrawn_before;
    secrets_ = std::move(secrets);
  }
  // The same options once more, as when an identity is published.
  void Publish() {
    if (shared_ == nullptr) shared_ = Options();
    service_->Configure(shared_, secrets_, absl::OkStatus(), /*version=*/0);
    Run();
  }
  void Start() {
    Create(Options());
    Publish();
    service_->Start();
    Run();
  }
  uint64_t Newest() {
    return fake_.network.last_settings().secrets->generation;
  }

  const absl::Status kNone = absl::UnavailableError("no identity: no agent");
  std::shared_ptr<const options::ServiceOptions> shared_;
};

TEST_F(SecretsTest, CallsWaitForAnIdentityAndFailWhenThereIsNone) {
  UseNone(absl::OkStatus());
  Start();
  EXPECT_EQ(fake_.discovery.made(), 1) << "discovery runs";
  fake_.discovery.Report({"a:1"});
  Run();
  EXPECT_EQ(Pick(), Kind::kWait);
  EXPECT_EQ(State(), GRPC_CHANNEL_CONNECTING);
  FakeWaiter waiter;
  service_->Park(&waiter, service_->Snapshot().get(), /*asks=*/false,
                 absl::InfiniteFuture(), nullptr);
  fake_.loop.Advance(absl::Seconds(10));
  EXPECT_EQ(fake_.network.made("a:1"), 0);
  EXPECT_TRUE(waiter.wakes.empty());

  UseNone(kNone);
  Publish();
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
  absl::Status status;
  EXPECT_EQ(Pick(&status), Kind::kDrop) << "also if they wait for ready";
  EXPECT_EQ(status, kNone);
  EXPECT_EQ(State(), GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(fake_.network.made("a:1"), 0);

  Use(1);
  Publish();
  EXPECT_EQ(Pick(), Kind::kWait);
  EXPECT_EQ(State(), GRPC_CHANNEL_CONNECTING);
  EXPECT_EQ(fake_.network.made("a:1"), 1);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(Pick(), Kind::kUse);
}

TEST_F(SecretsTest, TheFirstSnapshotSaysAlreadyThatThereIsNone) {
  UseNone(kNone);
  Create(Options());
  service_->Configure(Options(), secrets_, absl::OkStatus(), /*version=*/0);
  absl::Status status;
  EXPECT_EQ(Pick(&status), Kind::kDrop);
  EXPECT_EQ(status, kNone);
}

TEST_F(SecretsTest, WithoutEndpointsCallsWaitForTheIdentityFirst) {
  UseNone(absl::OkStatus());
  Start();
  fake_.discovery.ReportError(absl::NotFoundError("no such name"));
  EXPECT_EQ(Pick(), Kind::kWait);
  Use(1);
  Publish();
  EXPECT_EQ(Pick(), Kind::kFail);
}

TEST_F(SecretsTest, WhatIsConnectedServesThoughThereIsNoIdentityAnyMore) {
  Use(1);
  Start();
  fake_.discovery.Report({"a:1"});
  Run();
  Set("a:1", GRPC_CHANNEL_READY);
  auto none = std::make_shared<Secrets>();
  none->generation = 2;
  none->missing = kNone;
  secrets_ = none;
  Publish();
  EXPECT_EQ(Pick(), Kind::kUse);
  EXPECT_EQ(State(), GRPC_CHANNEL_READY);
  fake_.loop.Advance(absl::Seconds(1));
  Set("a:1", GRPC_CHANNEL_IDLE);
  absl::Status status;
  EXPECT_EQ(Pick(&status), Kind::kDrop);
  EXPECT_EQ(status, kNone);
  EXPECT_EQ(fake_.network.dials("a:1"), 1);
}

TEST_F(SecretsTest, ALaterGenerationIsUsedAndAnEarlierOneThatComesLateIsNot) {
  Use(7);
  Start();
  fake_.discovery.Report({"a:1"});
  Run();
  Set("a:1", GRPC_CHANNEL_READY);
  Use(8);
  Publish();
  Run();
  EXPECT_EQ(fake_.network.made("a:1"), 2) << "the spread is zero";
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(Pick(), Kind::kUse);
  EXPECT_EQ(Newest(), 8u);
  Use(7);
  Publish();
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(fake_.network.made("a:1"), 2);
  EXPECT_EQ(fake_.network.live("a:1"), 1);
  // It may come with a later configuration.
  service_->Configure(Options(), secrets_, absl::OkStatus(), /*version=*/1);
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(fake_.network.made("a:1"), 2);
  // Without a configuration a later one counts as well.
  Use(9);
  service_->SetSecrets(secrets_);
  Run();
  EXPECT_EQ(fake_.network.made("a:1"), 3);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(Newest(), 9u);
}

TEST_F(SecretsTest, MetricsCountConnectionsByGeneration) {
  Use(7);
  Start();
  fake_.discovery.Report({"a:1", "b:1"});
  Run();
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  using ByGeneration = std::map<uint64_t, uint64_t>;
  EXPECT_EQ(service_->Metrics().connections_by_generation,
            (ByGeneration{{7, 2}}));
  EXPECT_EQ(service_->Metrics().generations_open, 1u);
  const cluster::LiveEndpointPtr old = service_->Snapshot()->endpoints[0];
  ASSERT_TRUE(old->Acquire());
  Use(8);
  Publish();
  for (const char* address : {"a:1", "b:1"}) {
    Set(address, GRPC_CHANNEL_READY);
    Set(address, GRPC_CHANNEL_READY);
  }
  EXPECT_EQ(service_->Metrics().connections_by_generation,
            (ByGeneration{{7, 1}, {8, 2}}))
      << "one drains";
  EXPECT_EQ(service_->Metrics().generations_open, 2u);
  old->Release();
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(service_->Metrics().generations_open, 1u);
}

// --- Endpoints

TEST_F(ServiceTest, CallsGoToAnEndpointThatIsConnected) {
  Begin();
  EXPECT_EQ(Pick(), Kind::kWait);
  fake_.discovery.Report({"a:1", "b:1"});
  EXPECT_EQ(Endpoints(), (Addresses{"a:1", "b:1"}));
  EXPECT_EQ(
      fake_.log,
      (Addresses{"cart: the number of endpoints is 2 (2 added, 0 removed)."}));
  Run();
  EXPECT_EQ(Pick(), Kind::kWait);
  EXPECT_EQ(State(), GRPC_CHANNEL_CONNECTING);
  Set("b:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(Pick(), Kind::kUse);
  EXPECT_EQ(State(), GRPC_CHANNEL_READY);
}

TEST_F(ServiceTest, AnErrorBeforeTheFirstSetFailsCalls) {
  Begin();
  fake_.discovery.ReportError(absl::NotFoundError("no such name"));
  absl::Status status;
  EXPECT_EQ(Pick(&status), Kind::kFail);
  EXPECT_EQ(status, absl::UnavailableError(
                        "cart: the service has no endpoints: no such name"));
  fake_.discovery.Report({"a:1"});
  Run();
  EXPECT_EQ(Pick(), Kind::kWait);
}

TEST_F(ServiceTest, AnErrorAfterASetKeepsIt) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Run();
  Set("a:1", GRPC_CHANNEL_READY);
  fake_.discovery.ReportError(absl::UnavailableError("down"));
  Run();
  EXPECT_EQ(Pick(), Kind::kUse);
  EXPECT_EQ(Endpoints(), (Addresses{"a:1"}));
}

TEST_F(ServiceTest, AConnectionThatIsLostIsARefreshAndIsMadeAgain) {
  Begin();
  fake_.discovery.Report({"a:1", "b:1"});
  Run();
  Set("a:1", GRPC_CHANNEL_READY);
  Set("b:1", GRPC_CHANNEL_READY);
  fake_.loop.Advance(absl::Seconds(1));
  fake_.network.Set("a:1", GRPC_CHANNEL_IDLE);
  fake_.network.Set("b:1", GRPC_CHANNEL_IDLE);
  Run();
  EXPECT_EQ(fake_.discovery.refreshes(), 2);
  EXPECT_EQ(fake_.network.dials("a:1"), 2);
  EXPECT_EQ(fake_.network.dials("b:1"), 2);
  EXPECT_EQ(State(), GRPC_CHANNEL_CONNECTING);
}

TEST_F(ServiceTest, TheCountsOfDiscoveryAreInItsMetrics) {
  Begin();
  fake_.discovery.Report({"a:1"});
  fake_.discovery.Report({});
  fake_.discovery.ReportError(absl::UnavailableError("down"));
  const telemetry::ServiceSnapshot metrics = service_->Metrics();
  EXPECT_EQ(metrics.service, "cart");
  EXPECT_EQ(metrics.endpoints.size(), 1);
  EXPECT_EQ(metrics.discovery_updates, 2);
  EXPECT_EQ(metrics.discovery_doubted, 1);
  EXPECT_EQ(metrics.discovery_failures, 1);
  EXPECT_EQ(metrics.discovery_error, "down");
}

TEST_F(ServiceTest, AnEndpointThatSaysThatItDrainsIsLoggedOnce) {
  Begin();
  fake_.discovery.Report({"a:1", "b:1", "c:1", "d:1"});
  for (const char* address : {"a:1", "b:1", "c:1", "d:1"}) {
    Set(address, GRPC_CHANNEL_READY);
  }
  fake_.log.clear();
  resilience::HealthMonitor& health = service_->upstream().health();
  const std::vector<cluster::LiveEndpointPtr> endpoints =
      service_->Snapshot()->endpoints;
  health.Tick(endpoints, fake_.clock.Now());
  health.OnDraining(endpoints[0].get(), fake_.clock.Now());
  health.OnDraining(endpoints[0].get(), fake_.clock.Now());
  EXPECT_TRUE(fake_.log.empty()) << "not on the thread of a call";
  Run();
  EXPECT_EQ(fake_.log,
            (Addresses{"cart: a:1 was healthy and is ejected: draining."}));
}

TEST_F(ServiceTest, ForAnEndpointThatIsEjectedOthersAreConnected) {
  options_.connections.ahead = 2;
  Begin();
  fake_.discovery.Report({"a:1", "b:1", "c:1", "d:1"});
  Run();
  std::string used;
  for (const char* address : {"a:1", "b:1", "c:1", "d:1"}) {
    if (fake_.network.live(address) == 0) continue;
    Set(address, GRPC_CHANNEL_READY);
    used = address;
  }
  ASSERT_EQ(fake_.network.all_live(), 2);
  resilience::HealthMonitor& health = service_->upstream().health();
  const std::vector<cluster::LiveEndpointPtr> endpoints =
      service_->Snapshot()->endpoints;
  health.Tick(endpoints, fake_.clock.Now());
  for (const cluster::LiveEndpointPtr& endpoint : endpoints) {
    if (endpoint->endpoint().address != used) continue;
    health.OnDraining(endpoint.get(), fake_.clock.Now());
    ASSERT_EQ(endpoint->health(), cluster::Health::kEjected);
  }
  Run();
  EXPECT_EQ(fake_.network.all_live(), 3);
}

// --- Methods

TEST_F(ServiceTest, MethodsThatAreRegisteredHaveTheirPolicyByIndex) {
  options_.methods["a.A/A"].timeout = absl::Seconds(3);
  Begin();
  Method* const method = service_->RegisterMethod("/a.A/A");
  EXPECT_EQ(service_->RegisterMethod("/a.A/A"), method);
  EXPECT_EQ(service_->FindMethod("/a.A/A"), method);
  EXPECT_EQ(service_->FindMethod("/b.B/B"), nullptr);
  EXPECT_EQ(service_->Snapshot()->policies.Of(method, method->name).timeout,
            absl::Seconds(3))
      << "by its name, before there is another snapshot";
  Run();
  EXPECT_EQ(service_->Snapshot()->policies.Of(method, "").timeout,
            absl::Seconds(3));
}

TEST_F(ServiceTest, ManyMethodsAreOneSnapshot) {
  Begin();
  const ServiceViewPtr before = service_->Snapshot();
  for (int i = 0; i < 20; ++i) {
    service_->RegisterMethod("/a.A/" + std::to_string(i));
  }
  EXPECT_EQ(fake_.loop.posted(), 20);
  EXPECT_EQ(service_->Snapshot(), before);
  while (service_->Snapshot() == before) ASSERT_TRUE(fake_.loop.RunPosted());
  const ServiceViewPtr after = service_->Snapshot();
  Run();
  EXPECT_EQ(service_->Snapshot(), after);
}

// --- Calls that wait

TEST_F(ServiceTest, AParkedCallIsWokenByTheNextSnapshot) {
  options_.connections.ahead = 0;
  Begin();
  fake_.discovery.Report({"a:1"});
  Run();
  EXPECT_EQ(fake_.network.all_live(), 0);
  FakeWaiter waiter;
  service_->Park(&waiter, service_->Snapshot().get(), /*asks=*/false,
                 absl::InfiniteFuture(), nullptr);
  EXPECT_TRUE(waiter.wakes.empty());
  Run();
  EXPECT_EQ(fake_.network.live("a:1"), 1) << "it wants a connection";
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
}

TEST_F(ServiceTest, AParkedCallThatMissedASnapshotIsWokenAllTheSame) {
  Begin();
  const ServiceViewPtr seen = service_->Snapshot();
  fake_.discovery.Report({"a:1"});
  Run();
  FakeWaiter waiter;
  service_->Park(&waiter, seen.get(), /*asks=*/false, absl::InfiniteFuture(),
                 nullptr);
  Run();
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
}

TEST_F(ServiceTest, AParkedCallThatMissedNothingIsNotWoken) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Run();
  FakeWaiter waiter;
  const uint64_t id =
      service_->Park(&waiter, service_->Snapshot().get(), /*asks=*/false,
                     absl::InfiniteFuture(), nullptr);
  Run();
  EXPECT_TRUE(waiter.wakes.empty());
  service_->parking().Cancel(id);
  Run();
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"cancelled"}));
}

TEST_F(ServiceTest, ACallThatBacksOffWantsNoConnection) {
  options_.connections.ahead = 0;
  Begin();
  fake_.discovery.Report({"a:1"});
  FakeWaiter waiter;
  service_->Park(&waiter, nullptr, /*asks=*/false,
                 fake_.clock.Now() + absl::Seconds(1), nullptr);
  fake_.loop.Advance(absl::Seconds(1));
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"timer"}));
  EXPECT_EQ(fake_.network.all_live(), 0);
}

// --- Calls that ask for a dial

TEST_F(ServiceTest, ACallThatAsksIsWokenWhenADialHasFailed) {
  BeginWithAFailure();
  FakeWaiter waiter;
  Ask(&waiter);
  EXPECT_EQ(fake_.network.made("a:1"), 2);
  EXPECT_TRUE(waiter.wakes.empty());
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
}

TEST_F(ServiceTest, ACallThatAsksIsWokenWhenOneIsConnected) {
  BeginWithAFailure();
  FakeWaiter waiter;
  Ask(&waiter);
  Set("a:1", GRPC_CHANNEL_READY);
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
  EXPECT_EQ(Pick(), Kind::kUse);
}

TEST_F(ServiceTest, ACallThatAsksTooSoonIsWokenAtOnce) {
  BeginWithAFailure();
  FakeWaiter first;
  Ask(&first);
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  FakeWaiter second;
  Ask(&second);
  EXPECT_EQ(fake_.network.made("a:1"), 2);
  EXPECT_EQ(second.wakes, (std::vector<std::string>{"endpoints"}));
}

TEST_F(ServiceTest, ACallThatAsksIsNotWokenByNewsFromBeforeItIsHeard) {
  BeginWithAFailure();
  service_->RegisterMethod("/a.A/B");  // A new snapshot is due.
  FakeWaiter waiter;
  Ask(&waiter);
  EXPECT_EQ(fake_.network.made("a:1"), 2);
  EXPECT_TRUE(waiter.wakes.empty());
  Set("a:1", GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}));
}

TEST_F(ServiceTest, ACallThatAsksIsNotWokenByOtherNews) {
  BeginWithAFailure();
  FakeWaiter waiter;
  Ask(&waiter);
  service_->RegisterMethod("/a.A/B");
  Run();
  EXPECT_TRUE(waiter.wakes.empty());
  fake_.discovery.Report({});
  fake_.loop.Advance(absl::Minutes(1));
  EXPECT_EQ(waiter.wakes, (std::vector<std::string>{"endpoints"}))
      << "there is nobody to dial";
}

// --- State

TEST_F(ServiceTest, WhoTriesToConnectDoes) {
  options_.connections.ahead = 0;
  Create(Options());
  Configure();
  EXPECT_EQ(service_->GetState(/*try_to_connect=*/true), GRPC_CHANNEL_IDLE);
  Run();
  fake_.discovery.Report({"a:1"});
  Run();
  EXPECT_EQ(fake_.network.live("a:1"), 1);
  EXPECT_EQ(State(), GRPC_CHANNEL_CONNECTING);
}

TEST_F(ServiceTest, WhoWatchesTheStateIsToldOfItAndOfTheEnd) {
  Begin();
  std::vector<bool> told;
  const auto note = [&](bool changed) { told.push_back(changed); };
  service_->connectivity().Watch(GRPC_CHANNEL_IDLE, absl::InfiniteFuture(),
                                 note);
  fake_.discovery.Report({"a:1"});
  EXPECT_EQ(told, (std::vector<bool>{true}));
  service_->connectivity().Watch(State(), absl::InfiniteFuture(), note);
  service_.reset();
  EXPECT_EQ(told.size(), 1);
  Run();
  EXPECT_EQ(told, (std::vector<bool>{true, true}));
}

// --- The end

TEST_F(ServiceTest, EndsOnTheControlThread) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Set("a:1", GRPC_CHANNEL_READY);
  service_.reset();
  EXPECT_EQ(fake_.network.all_live(), 1);
  EXPECT_TRUE(fake_.discovery.running());
  Run();
  EXPECT_EQ(fake_.network.all_live(), 0);
  EXPECT_FALSE(fake_.discovery.running());
  EXPECT_EQ(fake_.loop.timers(), 0);
}

// gRPC would leave its socket for ever.
TEST_F(ServiceTest, AConnectionIsNotClosedWhileItConnects) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Run();
  service_.reset();
  fake_.loop.Advance(absl::Seconds(4));
  EXPECT_EQ(fake_.network.live("a:1"), 1);
  Set("a:1", GRPC_CHANNEL_READY);
  fake_.loop.Advance(absl::Milliseconds(50));
  EXPECT_EQ(fake_.network.live("a:1"), 0);
  EXPECT_EQ(fake_.loop.timers(), 0);
}

TEST_F(ServiceTest, WhatIsPostedDoesNothingOnceTheLastReferenceIsGone) {
  Begin();
  fake_.discovery.Report({"a:1"});
  Run();
  const int made = fake_.discovery.made();
  options_.source = options::EndpointsFileOptions{"endpoints.yaml"};
  Configure();
  service_.reset();
  Run();
  EXPECT_EQ(fake_.discovery.made(), made);
}

TEST_F(ServiceTest, KeepsTheRuntimeUntilItHasEnded) {
  Begin();
  const std::weak_ptr<Runtime> runtime = fake_.runtime;
  fake_.runtime.reset();
  service_.reset();
  EXPECT_FALSE(runtime.expired());
  Run();
  EXPECT_TRUE(runtime.expired());
}

}  // namespace
}  // namespace mesh::service
