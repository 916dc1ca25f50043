// Log, observers, sources and processors of the application may call the mesh
// back: none of them is called under a lock. With one these tests would hang.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/config/loader.h"
#include "mesh/front/doors.h"
#include "mesh/front/registry.h"
#include "mesh/log.h"
#include "mesh/security/authorization.h"
#include "mesh/security/identity.h"
#include "mesh/security/source_test_util.h"
#include "mesh/server/listen.h"
#include "mesh/telemetry/observer.h"

namespace mesh::front {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The application: it writes down who is called, and calls back.
class Application {
 public:
  void Called(const std::string& who) {
    {
      base::MutexLock lock(&mu_);
      calls_.push_back(who);
    }
    // Once each, since a reload logs, too.
    const std::shared_ptr<Registry> registry = this->registry.lock();
    if (registry == nullptr || !CalledFirst(who)) return;
    (void)registry->Metrics();
    (void)registry->ConfigText();
    Listen(*registry, nullptr);
    (void)registry->Reload(absl::InvalidArgumentError("a bad one"));
    options::MeshOptions options;
    options.identity = identity;
    options.server.mode = options::ServerMode::kPlaintext;
    EXPECT_TRUE(registry->Reload(std::move(options)).ok());
  }
  static void Listen(Registry& registry,
                     std::shared_ptr<grpc::AuthMetadataProcessor> processor) {
    grpc::ServerBuilder builder;
    EXPECT_FALSE(
        registry.Listen(&builder, "no address", nullptr, std::move(processor))
            .ok());
  }
  std::vector<std::string> calls() const {
    base::MutexLock lock(&mu_);
    return calls_;
  }

  // Set before the first call.
  std::weak_ptr<Registry> registry;
  std::optional<options::IdentityOptions> identity;

 private:
  bool CalledFirst(const std::string& who) {
    base::MutexLock lock(&mu_);
    return ++times_[who] == 1;
  }

  mutable base::Mutex mu_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> times_ ABSL_GUARDED_BY(mu_);
};

class Observer final : public telemetry::Observer {
 public:
  explicit Observer(Application* application) : application_(*application) {}
  void OnIdentity(const telemetry::IdentityEvent& event) override {
    application_.Called("observer: " + std::string(event.kind));
  }

 private:
  Application& application_;
};

class Source final : public security::IdentitySource {
 public:
  Source(Application* application, security::IdentityPtr identity)
      : application_(*application), identity_(std::move(identity)) {}
  void Subscribe(std::weak_ptr<security::IdentityListener> listener) override {
    application_.Called("source");
    const auto there = listener.lock();
    there->OnIdentity(identity_);
    there->OnNotice({security::IdentityNotice::Kind::kWarning, "it is old."});
  }

 private:
  Application& application_;
  const security::IdentityPtr identity_;
};

class Processor final : public grpc::AuthMetadataProcessor {
 public:
  explicit Processor(Application* application) : application_(*application) {}
  ~Processor() override { application_.Called("processor"); }
  grpc::Status Process(const InputMetadata&, grpc::AuthContext*,
                       OutputMetadata*, OutputMetadata*) override {
    return grpc::Status::OK;
  }

 private:
  Application& application_;
};

class ApplicationCodeTest : public ::testing::Test {
 protected:
  ApplicationCodeTest()
      : runtime_(std::make_shared<service::Runtime>(
            [this](LogSeverity, absl::string_view line) {
              application_.Called("log: " + std::string(line));
            },
            std::vector<std::shared_ptr<telemetry::Observer>>{
                std::make_shared<Observer>(&application_)},
            std::map<std::string, Fallback>(), options::TelemetryOptions(),
            options::LimitsOptions(), config::ParseEndpoints)) {}
  ~ApplicationCodeTest() override {
    registry_.reset();
    Settle();
    // The loop is the runtime's own, since no control was given.
    static_cast<base::EventLoop&>(runtime_->loop()).Stop();
  }

  void Make(std::shared_ptr<security::IdentitySource> source = nullptr) {
    registry_ = std::make_shared<Registry>(
        runtime_, std::map<std::string, Credentials>(), std::move(source));
    application_.registry = registry_;
  }
  options::MeshOptions Options() const {
    options::MeshOptions options;
    options.identity = application_.identity;
    options.server.mode = options::ServerMode::kPlaintext;
    options.warnings = {"mesh.yaml:1:2: beware."};
    return options;
  }
  // Waits for what was posted, and for what that has posted.
  void Settle() {
    for (int i = 0; i < 3; ++i) {
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
  }

  Application application_;
  const std::shared_ptr<service::Runtime> runtime_;
  std::shared_ptr<Registry> registry_;
};

TEST_F(ApplicationCodeTest, TheLogMayCallBack) {
  Make();
  EXPECT_TRUE(registry_->Reload(Options()).ok());
  EXPECT_THAT(application_.calls(), Contains("log: mesh.yaml:1:2: beware."));
  EXPECT_EQ(registry_->Metrics().config_error, "");
}

TEST_F(ApplicationCodeTest, SourceAndObserverMayCallBack) {
  const absl::Time now = base::WallTime();
  const certs::Authority root = security::RootAt(now, "root");
  application_.identity.emplace();
  Make(std::make_shared<Source>(
      &application_,
      *security::Identity::Make(
          security::BytesOf(security::SvidOf(root, now - absl::Hours(1),
                                             now + absl::Hours(9)),
                            root.root_pem()),
          now)));
  EXPECT_TRUE(registry_->Apply(Options()).ok());
  Settle();
  const std::vector<std::string> calls = application_.calls();
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "source"), 1);
  EXPECT_THAT(calls, Contains("observer: warning"));
  EXPECT_THAT(calls, Contains(HasSubstr("is in force")));
  EXPECT_THAT(calls, Contains("log: identity process: it is old."));
  EXPECT_EQ(registry_->Metrics().identities[0].generation, 1u);
}

// A key that lives for long is warned of inside of the source's subscription.
TEST_F(ApplicationCodeTest, AWarningOfFilesMayCallBack) {
  std::string directory = ::testing::TempDir() + "/application_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const absl::Time now = base::WallTime();
  const certs::Authority root = security::RootAt(now, "root");
  const certs::Issued old =
      security::SvidOf(root, now - absl::Hours(1), now + 400 * absl::Hours(24));
  options::IdentityFiles files;
  files.cert = directory + "/tls.pem";
  files.key = directory + "/tls.key";
  files.ca = directory + "/ca.pem";
  std::ofstream(files.cert) << old.chain;
  std::ofstream(files.key) << old.key;
  std::ofstream(files.ca) << root.root_pem();
  application_.identity.emplace().source = files;
  Make();
  EXPECT_TRUE(registry_->Apply(Options()).ok());
  Settle();
  EXPECT_THAT(application_.calls(), Contains("observer: warning"));
}

TEST_F(ApplicationCodeTest, AProcessorThatIsNotTakenMayCallBack) {
  Make();
  EXPECT_TRUE(registry_->Apply(Options()).ok());
  Application::Listen(*registry_, std::make_shared<Processor>(&application_));
  EXPECT_THAT(application_.calls(), Contains("processor"));
}

// A port whose server ends while the port is told of a change.
class EndingDoor final : public server::ServerDoor {
 public:
  explicit EndingDoor(std::function<void()> end) : end_(std::move(end)) {}
  ~EndingDoor() override { end_(); }
  void AnnounceShutdown() override {}
  void SetWires(server::Wires) override {}
  void SetTrust(server::VerifyPeer, bool) override { server.reset(); }
  void SetShown(uint64_t, uint64_t) override {}
  void Close() override {}
  Counts counts() const override { return {}; }

  std::shared_ptr<EndingDoor> server;

 private:
  const std::function<void()> end_;
};

// With the port goes the application's processor.
TEST_F(ApplicationCodeTest, AProcessorThatGoesDuringAChangeMayCallBack) {
  const auto doors = std::make_shared<Doors>(runtime_);
  const auto apply = [&](options::CrlMode crl) {
    options::ServerOptions options;
    options.crl = crl;
    doors->Apply(nullptr, *security::Authorization::Make(std::move(options)));
  };
  apply(options::CrlMode::kDefault);
  std::atomic<bool> called{false};
  auto door = std::make_shared<EndingDoor>([&] {
    // Not where a lock of the registry or of a source may be held.
    EXPECT_TRUE(static_cast<base::EventLoop&>(runtime_->loop()).OnLoopThread());
    apply(options::CrlMode::kIfPresent);
    called = true;
  });
  doors->Add(door);
  EndingDoor& last = *door;
  last.server = std::move(door);
  apply(options::CrlMode::kRequire);
  Settle();
  EXPECT_TRUE(called);
}

TEST_F(ApplicationCodeTest, ARefusedReloadSaysNothingOfItsIdentities) {
  std::string directory = ::testing::TempDir() + "/application_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  std::ofstream(directory + "/a.pem")
      << security::RootAt(base::WallTime(), "root").root_pem();
  Make();
  options::MeshOptions options;
  options.server.mode = options::ServerMode::kPlaintext;
  for (const std::string name : {"a", "b"}) {
    auto service = std::make_shared<options::ServiceOptions>();
    service->name = name;
    service->tls.emplace().ca_file = directory + "/" + name + ".pem";
    options.services[name] = std::move(service);
  }
  application_.registry.reset();
  EXPECT_FALSE(registry_->Reload(std::move(options)).ok());
  Settle();
  EXPECT_THAT(application_.calls(), ElementsAre(HasSubstr("is not applied")));
}

}  // namespace
}  // namespace mesh::front
