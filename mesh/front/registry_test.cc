#include "mesh/front/registry.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "mesh/balancing/picker.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/loader.h"
#include "mesh/log.h"

namespace mesh::front {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// A configuration: services by name, and the timeout of their calls, by which
// tests tell one configuration from another.
options::MeshOptions Of(const std::vector<std::string>& names,
                        absl::Duration timeout = absl::Seconds(1)) {
  options::MeshOptions options;
  for (const std::string& name : names) {
    auto service = std::make_shared<options::ServiceOptions>();
    service->name = name;
    service->source = std::make_shared<const cluster::EndpointSet>();
    service->authority = name;
    service->policy.timeout = timeout;
    options.services[name] = std::move(service);
  }
  return options;
}

// Null options: the service is unknown.
absl::Duration TimeoutOf(service::Service& service) {
  const auto snapshot = service.Snapshot();
  const auto* const options = snapshot->policies.options();
  return options != nullptr ? options->policy.timeout : absl::ZeroDuration();
}

// What calls fail with now; OK when they wait.
absl::Status FailureOf(service::Service& service) {
  const auto picker = service.Snapshot()->picker;
  const balancing::PickResult result = picker->Pick(balancing::PickArgs());
  return result.status != nullptr ? *result.status : absl::OkStatus();
}

class RegistryTest : public testing::Test {
 protected:
  RegistryTest()
      : runtime_(std::make_shared<service::Runtime>(
            [this](LogSeverity, absl::string_view line) { OnLine(line); },
            std::vector<std::shared_ptr<telemetry::Observer>>(),
            std::map<std::string, Fallback>(), options::TelemetryOptions(),
            options::LimitsOptions(), config::ParseEndpoints)),
        registry_(std::make_shared<Registry>(
            runtime_, std::map<std::string, Credentials>())) {}

  ~RegistryTest() override {
    // Services are destroyed on the control thread.
    gone_ = true;
    registry_.reset();
    Settle();
    // The loop is the runtime's own, since no control was given.
    static_cast<base::EventLoop&>(runtime_->loop()).Stop();
  }

  void Apply(options::MeshOptions options) {
    const absl::Status status = registry_->Apply(std::move(options));
    EXPECT_TRUE(status.ok()) << status;
  }

  // Waits until the control thread has done all that it was asked to.
  void Settle() {
    base::Mutex mu;
    base::CondVar cond;
    bool done = false;
    runtime_->loop().Post([&] {
      base::MutexLock lock(&mu);
      done = true;
      cond.Signal();
    });
    base::MutexLock lock(&mu);
    while (!done) cond.Wait(&mu);
  }

  // A sink that calls the registry. It would deadlock if the lock were held.
  void OnLine(absl::string_view line) {
    if (!gone_) (void)registry_->Metrics();
    base::MutexLock lock(&mu_);
    lines_.emplace_back(line);
  }
  std::vector<std::string> Lines() {
    base::MutexLock lock(&mu_);
    return lines_;
  }

  base::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
  std::atomic<bool> gone_{false};
  const std::shared_ptr<service::Runtime> runtime_;
  std::shared_ptr<Registry> registry_;
};

TEST_F(RegistryTest, OneNameIsOneService) {
  Apply(Of({"cart", "stock"}));
  const auto cart = registry_->Service("cart");
  EXPECT_EQ(registry_->Service("cart"), cart);
  EXPECT_NE(registry_->Service("stock"), cart);
  EXPECT_EQ(cart->name(), "cart");
  EXPECT_EQ(TimeoutOf(*cart), absl::Seconds(1));
}

TEST_F(RegistryTest, AConfiguredServiceIsKeptAlsoWhileNobodyHasIt) {
  Apply(Of({"cart"}));
  const std::weak_ptr<service::Service> cart = registry_->Service("cart");
  EXPECT_FALSE(cart.expired());
  EXPECT_EQ(registry_->Service("cart"), cart.lock());
}

TEST_F(RegistryTest, AnUnknownServiceIsKeptWhileSomebodyHasIt) {
  Apply(Of({"cart"}));
  auto unknown = registry_->Service("card");
  EXPECT_EQ(registry_->Service("card"), unknown);
  EXPECT_EQ(registry_->Metrics().services.size(), 1u);
  unknown.reset();
  EXPECT_THAT(registry_->Metrics().services, IsEmpty());
}

TEST_F(RegistryTest, CallsOfAnUnknownServiceFailAtOnceAndNameTheNearest) {
  Apply(Of({"cart", "stock"}));
  const auto unknown = registry_->Service("card");
  const absl::Status status = FailureOf(*unknown);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "the service \"card\" is not in the configuration; did you mean "
            "\"cart\"? It has \"cart\", \"stock\".");
}

TEST_F(RegistryTest, AMessageListsTenNamesAtMost) {
  std::vector<std::string> names;
  for (char letter = 'a'; letter <= 'z'; ++letter) names.push_back({letter});
  Apply(Of(names));
  const auto unknown = registry_->Service("something");
  EXPECT_THAT(std::string(FailureOf(*unknown).message()),
              testing::AllOf(
                  testing::StartsWith("the service \"something\" is not in the "
                                      "configuration. It has \"a\", "),
                  testing::EndsWith("\"h\", \"i\", \"j\".")));
}

TEST_F(RegistryTest, AReloadReachesServicesThatExist) {
  Apply(Of({"cart"}));
  const auto cart = registry_->Service("cart");
  const auto stock = registry_->Service("stock");
  ASSERT_TRUE(registry_->Reload(Of({"cart", "stock"}, absl::Seconds(2))).ok());
  Settle();
  EXPECT_EQ(TimeoutOf(*cart), absl::Seconds(2));
  EXPECT_EQ(TimeoutOf(*stock), absl::Seconds(2));
  EXPECT_EQ(registry_->Service("cart"), cart);
  EXPECT_EQ(registry_->Service("stock"), stock);
  EXPECT_EQ(registry_->Metrics().config_reloads, 1u);
  EXPECT_THAT(Lines(), ElementsAre("the configuration was reloaded."));
}

TEST_F(RegistryTest, AServiceThatIsRemovedFailsAndIsLetGo) {
  Apply(Of({"cart", "stock"}));
  auto cart = registry_->Service("cart");
  Apply(Of({"stock"}));
  Settle();
  EXPECT_THAT(std::string(FailureOf(*cart).message()),
              StartsWith("the service \"cart\" is not in the configuration"));
  const std::weak_ptr<service::Service> weak = cart;
  cart.reset();
  Settle();
  EXPECT_TRUE(weak.expired());
}

TEST_F(RegistryTest, ABadReloadChangesNothingAndIsCountedAndLogged) {
  Apply(Of({"cart"}));
  const auto cart = registry_->Service("cart");
  EXPECT_FALSE(registry_->Reload(absl::InvalidArgumentError("why")).ok());
  Settle();
  EXPECT_EQ(TimeoutOf(*cart), absl::Seconds(1));
  telemetry::Snapshot metrics = registry_->Metrics();
  EXPECT_EQ(metrics.config_reloads, 0u);
  EXPECT_EQ(metrics.config_reload_failures, 1u);
  EXPECT_EQ(metrics.config_error, "why");
  EXPECT_THAT(Lines(), ElementsAre(AllOf(HasSubstr("is not applied"),
                                         HasSubstr("why"))));

  EXPECT_TRUE(registry_->Reload(Of({"cart"})).ok());
  metrics = registry_->Metrics();
  EXPECT_EQ(metrics.config_reloads, 1u);
  EXPECT_EQ(metrics.config_error, "");
}

TEST_F(RegistryTest, ARefusedReloadThatIsTriedAgainIsSilentUntilItIsAnother) {
  Apply(Of({"cart"}));
  const auto refuse = [&](const std::string& why, bool again) {
    EXPECT_FALSE(
        registry_->Reload(absl::InvalidArgumentError(why), again).ok());
    EXPECT_EQ(registry_->Metrics().config_error, why);
    return std::make_pair(registry_->Metrics().config_reload_failures,
                          Lines().size());
  };
  EXPECT_EQ(refuse("expired, and it is 12:00:01.", false),
            std::make_pair(uint64_t{1}, size_t{1}));
  EXPECT_EQ(refuse("expired, and it is 12:00:02.", true),
            std::make_pair(uint64_t{1}, size_t{1}));
  EXPECT_EQ(refuse("missing.", true), std::make_pair(uint64_t{2}, size_t{2}));
  EXPECT_EQ(refuse("missing.", false), std::make_pair(uint64_t{3}, size_t{3}))
      << "it is a new one";
  EXPECT_TRUE(registry_->Reload(Of({"cart"}, absl::Seconds(2)), true).ok());
  EXPECT_EQ(registry_->Metrics().config_reloads, 1u);
  EXPECT_EQ(registry_->Metrics().config_error, "");
  // One that came meanwhile stays.
  EXPECT_TRUE(registry_->Reload(Of({"cart"}, absl::Seconds(3)), true).ok());
  EXPECT_EQ(registry_->Metrics().config_reloads, 1u);
  EXPECT_EQ(TimeoutOf(*registry_->Service("cart")), absl::Seconds(2));
}

TEST_F(RegistryTest, OneServiceWithoutItsFilesKeepsAllAsTheyAre) {
  Apply(Of({"cart"}));
  const auto cart = registry_->Service("cart");
  options::MeshOptions next = Of({"cart", "stock"}, absl::Seconds(2));
  auto stock =
      std::make_shared<options::ServiceOptions>(*next.services.at("stock"));
  stock->tls = options::TlsOptions();
  stock->tls->ca_file = testing::TempDir() + "/no_such_file.pem";
  next.services["stock"] = std::move(stock);
  const absl::Status status = registry_->Apply(std::move(next));
  EXPECT_THAT(std::string(status.message()),
              StartsWith("services.stock.tls.ca_file: "));
  Settle();
  EXPECT_EQ(TimeoutOf(*cart), absl::Seconds(1));
}

TEST_F(RegistryTest, WhatHoldsFromTheStartIsWarnedOf) {
  options::MeshOptions options = Of({"cart"});
  options.telemetry.max_methods = 7;
  Apply(std::move(options));
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("telemetry holds from the start")));
}

TEST_F(RegistryTest, WhatAConfigurationWarnsOfIsLogged) {
  options::MeshOptions options = Of({"cart"});
  options.warnings = {"mesh.yaml:1:2: a key that others may read."};
  Apply(std::move(options));
  EXPECT_THAT(
      Lines(),
      ElementsAre(HasSubstr("mesh.yaml:1:2: a key that others may read.")));
}

TEST_F(RegistryTest, ConfigurationsThatRaceLeaveAllServicesWithOne) {
  Apply(Of({"a", "b"}));
  std::vector<std::thread> threads;
  for (int number = 1; number <= 4; ++number) {
    threads.emplace_back([this, number] {
      for (int round = 1; round <= 50; ++round) {
        Apply(Of({"a", "b"}, absl::Milliseconds(number * 1000 + round)));
        (void)registry_->Service(round % 2 == 0 ? "a" : "b");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Settle();
  const auto a = registry_->Service("a");
  const auto b = registry_->Service("b");
  Settle();
  EXPECT_EQ(TimeoutOf(*a), TimeoutOf(*b));
  EXPECT_EQ(registry_->Metrics().services.size(), 2u);
}

TEST_F(RegistryTest, ThreadsThatAskForOneNameGetOneService) {
  Apply(Of({"cart"}));
  std::vector<std::shared_ptr<service::Service>> got(4);
  std::vector<std::thread> threads;
  for (auto& service : got) {
    threads.emplace_back(
        [this, &service] { service = registry_->Service("cart"); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& service : got) EXPECT_EQ(service, got[0]);
}

options::MeshOptions Read(const std::string& text) {
  auto options = config::LoadText(text, "/etc/mesh/mesh.yaml");
  EXPECT_TRUE(options.ok()) << options.status();
  return options.ok() ? *std::move(options) : options::MeshOptions();
}

TEST_F(RegistryTest, TheTextOfItsConfigurationIsWhatHoldsAfterReloads) {
  EXPECT_EQ(registry_->ConfigText(), "") << "nothing holds yet";
  Apply(Read("services: {a: {endpoints: [], policy: {timeout: 1s}}}"));
  const std::string first = registry_->ConfigText();
  EXPECT_THAT(first, AllOf(HasSubstr("timeout: 1s"), HasSubstr("ahead: 32")));
  EXPECT_FALSE(
      registry_->Reload(config::LoadText("services: {a: {}}", "mesh.yaml"))
          .ok());
  EXPECT_EQ(registry_->ConfigText(), first) << "it was not applied";
  EXPECT_TRUE(registry_
                  ->Reload(Read("services: {b: {endpoints: []}}\n"
                                "telemetry: {max_methods: 7}"))
                  .ok());
  const std::string second = registry_->ConfigText();
  EXPECT_THAT(second,
              AllOf(HasSubstr("\n  b:\n"), HasSubstr("max_methods: 200\n")))
      << "telemetry holds from the start";
  EXPECT_EQ(second.find("\n  a:\n"), std::string::npos);
  EXPECT_TRUE(config::LoadText(second, "written.yaml").ok()) << second;
}

TEST_F(RegistryTest, TheTextSaysWhoseCredentialsAreGivenInCode) {
  Registry registry(runtime_,
                    {{"my.cart", grpc::InsecureChannelCredentials()},
                     {"none", nullptr},
                     {"unknown", grpc::InsecureChannelCredentials()}});
  EXPECT_TRUE(registry
                  .Apply(Read("services: {my.cart: {endpoints: []}, "
                              "none: {endpoints: []}}"))
                  .ok());
  const std::string text = registry.ConfigText();
  EXPECT_THAT(text, StartsWith("# services[\"my.cart\"]: its credentials are "
                               "given in code.\nservices:\n"));
  EXPECT_TRUE(config::LoadText(text, "written.yaml").ok()) << text;
}

TEST_F(RegistryTest, TheTextMayBeAskedForWhileTheConfigurationChanges) {
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) registry_->ConfigText();
  });
  for (int i = 0; i < 200; ++i) {
    Apply(
        Read(absl::StrCat("services: {a: {endpoints: [], retry_budget: "
                          "{min_per_second: ",
                          i, "}}}")));
  }
  done = true;
  reader.join();
  EXPECT_THAT(registry_->ConfigText(), HasSubstr("min_per_second: 199\n"));
}

}  // namespace
}  // namespace mesh::front
