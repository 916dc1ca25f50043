// What a configuration says of identities, peers and rules, between real
// meshes: one that listens and one that calls.

#include "mesh/security/identity.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_certificate_verifier.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"
#include "mesh/mesh.h"
#include "mesh/security/source.h"
#include "mesh/server/peer.h"
#include "mesh/server/server.h"
#include "mesh/telemetry/observer.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_service.grpc.pb.h"

namespace mesh::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kShop[] = "spiffe://prod/shop";
constexpr char kCart[] = "spiffe://prod/cart";

// An authority of the trust domain "prod".
certs::Authority NewRoot(const std::string& name = "root") {
  const absl::Time now = base::WallTime();
  return *certs::Authority::MakeRoot(
      certs::AuthorityOptions(name, now - absl::Hours(1), now + absl::Hours(9)),
      *certs::Key::Make(certs::KeyType::kP256));
}

certs::Issued NewSvid(const certs::Authority& root, const std::string& id,
                      absl::Duration lives = absl::Hours(1)) {
  const absl::Time now = base::WallTime();
  return *root.Issue(
      certs::SvidOptions(id, now - absl::Minutes(1), now + lives));
}

// What an application gives. `crls`: revocation lists.
security::IdentityPtr NewIdentity(const certs::Authority& root,
                                  const std::string& id,
                                  const std::vector<std::string>& crls = {}) {
  const certs::Issued svid = NewSvid(root, id);
  security::IdentityBytes bytes;
  bytes.chain = svid.chain;
  bytes.key = svid.key;
  bytes.bundles["prod"] = root.root_pem();
  bytes.crls = crls;
  return *security::Identity::Make(std::move(bytes), base::WallTime());
}

// A list that holds now.
std::string NewCrl(const certs::Authority& root,
                   const std::vector<std::string>& revoked) {
  const absl::Time now = base::WallTime();
  certs::CrlOptions options{now - absl::Minutes(1), now + absl::Hours(1)};
  options.revoked = revoked;
  return *root.MakeCrl(options);
}

// The files of one process.
class Files {
 public:
  void Write(const certs::Issued& issued, const std::string& authorities) {
    directory_.Write("ca.pem", authorities);
    // Key and chain are one unit, whatever the order.
    directory_.Write("tls.key", issued.key);
    directory_.Write("tls.pem", issued.chain);
  }
  void WriteRaw(const std::string& name, const std::string& text) {
    directory_.Write(name, text);
  }
  void Remove(const std::string& name) {
    std::filesystem::remove(directory_.path() + "/" + name);
  }
  // All users of the machine may read it.
  void MakePublic(const std::string& name) {
    using std::filesystem::perms;
    std::filesystem::permissions(
        directory_.path() + "/" + name,
        perms::owner_read | perms::group_read | perms::others_read);
  }
  // A configuration with these files as its identity.
  std::string Config(const std::string& rest) {
    return directory_.Write(
        "mesh.yaml", absl::StrCat("identity: {files: {cert: tls.pem, key: "
                                  "tls.key, ca: ca.pem}}\n",
                                  rest));
  }
  std::string PlainConfig(const std::string& text) {
    return directory_.Write("mesh.yaml", text);
  }

 private:
  TempDirectory directory_;
};

// What a mesh has logged. It may log when it is gone.
class Log : public std::enable_shared_from_this<Log> {
 public:
  LogSink Sink() {
    return [log = shared_from_this()](LogSeverity, absl::string_view line) {
      base::MutexLock lock(&log->mu_);
      log->lines_.emplace_back(line);
    };
  }
  // How many lines have `part`.
  int Count(const std::string& part) const {
    base::MutexLock lock(&mu_);
    return static_cast<int>(
        std::count_if(lines_.begin(), lines_.end(), [&](const auto& line) {
          return line.find(part) != std::string::npos;
        }));
  }
  std::string Text() const {
    base::MutexLock lock(&mu_);
    return absl::StrJoin(lines_, "\n");
  }

 private:
  mutable base::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

// Answers with the caller's SPIFFE ID.
class WhoCalls final : public TestService::Service {
 public:
  grpc::Status Unary(grpc::ServerContext* context, const Request*,
                     Reply* reply) override {
    calls.fetch_add(1);
    const auto peer = server::PeerOf(context);
    reply->set_payload(!peer.has_value() ? "nobody"
                       : peer->plaintext ? "plaintext"
                                         : peer->spiffe_id);
    return grpc::Status::OK;
  }
  std::atomic<int> calls{0};
};

// A server on a port of a mesh.
class Listening {
 public:
  explicit Listening(const std::string& config, Options options = {}) {
    auto made = Mesh::FromFile(config, std::move(options));
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return;
    mesh = *std::move(made);
    grpc::ServerBuilder builder;
    builder.RegisterService(&service);
    const auto attachment = mesh->Listen(&builder, "127.0.0.1:0", &port);
    EXPECT_TRUE(attachment.ok()) << attachment.status();
    server = builder.BuildAndStart();
  }
  ~Listening() {
    if (server != nullptr) server->Shutdown(std::chrono::system_clock::now());
  }
  std::string Endpoints() const {
    return absl::StrCat("endpoints: [\"127.0.0.1:", port, "\"]");
  }

  int port = 0;
  WhoCalls service;
  std::unique_ptr<Mesh> mesh;
  std::unique_ptr<grpc::Server> server;
};

// A mesh that calls the service "cart".
class Calling {
 public:
  explicit Calling(const std::string& config, Options options = {}) {
    auto made = Mesh::FromFile(config, std::move(options));
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return;
    mesh = *std::move(made);
    channel = mesh->Channel("cart");
    stub = TestService::NewStub(channel);
  }

  grpc::Status Call(std::string* who = nullptr,
                    absl::Duration within = absl::Seconds(20)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMilliseconds(within));
    Reply reply;
    const grpc::Status status = stub->Unary(&context, Request(), &reply);
    if (who != nullptr) *who = reply.payload();
    return status;
  }
  void ExpectServedAs(const std::string& who) {
    std::string answer;
    const grpc::Status status = Call(&answer);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(answer, who);
  }
  void ExpectFails(grpc::StatusCode code) {
    const grpc::Status status = Call();
    EXPECT_EQ(status.error_code(), code) << status.error_message();
  }

  std::unique_ptr<Mesh> mesh;
  std::shared_ptr<grpc::ChannelInterface> channel;
  std::unique_ptr<TestService::Stub> stub;
};

uint64_t Generation(const Mesh& mesh) {
  const telemetry::Snapshot snapshot = mesh.Metrics();
  return snapshot.identities.empty() ? 0 : snapshot.identities[0].generation;
}

class IdentityTest : public testing::Test {
 protected:
  IdentityTest() {
    server_files_.Write(NewSvid(root_, kCart), root_.root_pem());
    client_files_.Write(NewSvid(root_, kShop), root_.root_pem());
  }

  std::string ServerConfig(const std::string& server = "{mode: strict}") {
    return server_files_.Config(absl::StrCat("server: ", server, "\n"));
  }
  std::string ClientConfig(const Listening& server,
                           const std::string& peer = kCart) {
    return client_files_.Config(
        absl::StrCat("services: {cart: {", server.Endpoints(),
                     ", tls: {peer: \"", peer, "\"}}}\n"));
  }

  const certs::Authority root_ = NewRoot();
  Files server_files_;
  Files client_files_;
};

TEST_F(IdentityTest, BothEndsKnowEachOtherByName) {
  Listening server(ServerConfig());
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  const telemetry::ServerSnapshot metrics = server.mesh->Metrics().server;
  EXPECT_EQ(metrics.mode, "strict");
  EXPECT_EQ(metrics.connections_tls, 1);
  EXPECT_EQ(metrics.connections_plaintext, 0);
}

// The socket of this process that listens on `port`. -1: there is none.
int ListeningSocket(int port) {
  for (int fd = 3; fd < 1000; ++fd) {
    int listens = 0;
    socklen_t size = sizeof(listens);
    sockaddr_in address = {};
    socklen_t address_size = sizeof(address);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
        listens != 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_size) ==
            0 &&
        ntohs(address.sin_port) == port) {
      return fd;
    }
  }
  return -1;
}

// Waits for a port to fail.
class PortWatch final : public telemetry::Observer {
 public:
  void OnPortFailure(const telemetry::PortFailureEvent& event) override {
    text = std::string(event.text);
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    thread = name;
    if (then != nullptr) then();
    failed.Notify();
  }
  std::function<void()> then;
  std::string text;
  std::string thread;
  absl::Notification failed;
};

TEST_F(IdentityTest, APortThatTheSystemFailsIsSeen) {
  const auto watch = std::make_shared<PortWatch>();
  Options options;
  options.observers = {watch};
  Listening server(ServerConfig(), options);
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  EXPECT_EQ(server.mesh->Metrics().server.ports_failed, 0);
  ASSERT_EQ(shutdown(ListeningSocket(server.port), SHUT_RDWR), 0);
  watch->failed.WaitForNotification();
  EXPECT_EQ(watch->text,
            absl::StrCat("port ", server.port,
                         " is closed: accept() failed: Invalid argument."));
  EXPECT_EQ(server.mesh->Metrics().server.ports_failed, 1);
  client.ExpectServedAs(kShop);  // What is open goes on.
}

TEST_F(IdentityTest, AnObserverOfAFailedPortMayEndTheServer) {
  const auto watch = std::make_shared<PortWatch>();
  Options options;
  options.observers = {watch};
  Listening server(ServerConfig(), options);
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  watch->then = [&] {
    server.server->Shutdown(std::chrono::system_clock::now());
    server.server.reset();
  };
  ASSERT_EQ(shutdown(ListeningSocket(server.port), SHUT_RDWR), 0);
  watch->failed.WaitForNotification();
  EXPECT_NE(watch->thread, "mesh-listen") << "the port's own thread";
  EXPECT_EQ(server.mesh->Metrics().server.ports, 0);
}

TEST_F(IdentityTest, APeerOfAnotherNameIsRefused) {
  Listening server(ServerConfig());
  Calling client(ClientConfig(server, "spiffe://prod/cart-evil"));
  client.ExpectFails(grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.service.calls, 0);
}

TEST_F(IdentityTest, IdentityPeerIsTheDefaultOfAllServices) {
  Listening server(ServerConfig());
  client_files_.Config("");
  const std::string config = client_files_.PlainConfig(absl::StrCat(
      "identity: {files: {cert: tls.pem, key: tls.key, ca: ca.pem}, peer: "
      "\"spiffe://prod/{service}\"}\nservices: {cart: {",
      server.Endpoints(), "}}\n"));
  Calling client(config);
  client.ExpectServedAs(kShop);
}

TEST_F(IdentityTest, ANewCertificateIsShownWithoutALostCall) {
  Listening server(ServerConfig());
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  const uint64_t server_before = Generation(*server.mesh);
  const uint64_t client_before = Generation(*client.mesh);

  std::atomic<bool> stop{false};
  std::atomic<int> failed{0};
  std::thread load([&] {
    while (!stop.load()) {
      if (!client.Call().ok()) failed.fetch_add(1);
    }
  });
  for (int i = 0; i < 5; ++i) {
    server_files_.Write(NewSvid(root_, kCart), root_.root_pem());
    client_files_.Write(NewSvid(root_, kShop), root_.root_pem());
    absl::SleepFor(absl::Milliseconds(200));
  }
  EXPECT_TRUE(WaitUntil([&] {
    return Generation(*server.mesh) > server_before &&
           Generation(*client.mesh) > client_before;
  }));
  stop.store(true);
  load.join();
  EXPECT_EQ(failed.load(), 0);
}

TEST_F(IdentityTest, AWithdrawnAuthorityIsGoneInSecondsAtBothEnds) {
  const certs::Authority next = NewRoot("next");
  Listening server(ServerConfig());
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);

  // Both trust both, then show leaves of the new one, then forget the old one.
  const std::string both = root_.root_pem() + next.root_pem();
  server_files_.WriteRaw("ca.pem", both);
  client_files_.WriteRaw("ca.pem", both);
  uint64_t seen = Generation(*server.mesh);
  ASSERT_TRUE(WaitUntil([&] { return Generation(*server.mesh) >= seen; }));
  server_files_.Write(NewSvid(next, kCart), both);
  client_files_.Write(NewSvid(next, kShop), both);
  client.ExpectServedAs(kShop);
  absl::SleepFor(absl::Seconds(1));
  server_files_.WriteRaw("ca.pem", next.root_pem());
  client_files_.WriteRaw("ca.pem", next.root_pem());
  absl::SleepFor(absl::Seconds(1));
  // One that still shows a leaf of the old authority is refused.
  Files old;
  old.Write(NewSvid(root_, kShop), both);
  Calling stranger(
      old.Config(absl::StrCat("services: {cart: {", server.Endpoints(),
                              ", tls: {peer: \"", kCart, "\"}}}\n")));
  EXPECT_FALSE(stranger.Call(nullptr, absl::Seconds(2)).ok());
  client.ExpectServedAs(kShop);
  EXPECT_TRUE(WaitUntil([&] {
    const auto server_metrics = server.mesh->Metrics().server;
    return server_metrics.connections_leaving == 0;
  }));
  client.ExpectServedAs(kShop);
}

// A channel of gRPC's own, which never looks again whom it has believed.
std::shared_ptr<grpc::Channel> StockChannel(int port,
                                            const certs::Issued& shown,
                                            const std::string& authorities) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
          authorities, std::vector<grpc::experimental::IdentityKeyCertPair>{
                           {shown.key, shown.chain}}));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_check_call_host(false);
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port),
                                   grpc::experimental::TlsCredentials(options),
                                   arguments);
}

// Both ends of a connection have to be of authorities that are trusted still.
// A peer that does not look after that itself is helped.
TEST_F(IdentityTest, AServerEndsWhatItHasShownAWithdrawnLeaf) {
  const certs::Authority next = NewRoot("next");
  const std::string both = root_.root_pem() + next.root_pem();
  server_files_.WriteRaw("ca.pem", both);
  Listening server(ServerConfig());
  const certs::Issued shown = NewSvid(next, kShop);
  const auto connect = [&] {
    auto channel = StockChannel(server.port, shown, both);
    EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                          std::chrono::seconds(20)));
    return channel;
  };
  const auto call = [](const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    Reply reply;
    EXPECT_TRUE(
        TestService::NewStub(channel)->Unary(&context, Request(), &reply).ok());
  };
  const auto silent = connect();
  const auto called = connect();
  call(called);

  uint64_t before = Generation(*server.mesh);
  server_files_.Write(NewSvid(next, kCart), both);
  ASSERT_TRUE(WaitUntil([&] { return Generation(*server.mesh) > before; }));
  const auto later = connect();
  call(later);
  before = Generation(*server.mesh);
  server_files_.WriteRaw("ca.pem", next.root_pem());
  ASSERT_TRUE(WaitUntil([&] { return Generation(*server.mesh) > before; }));

  for (const auto& channel : {silent, called}) {
    EXPECT_TRUE(channel->WaitForStateChange(
        GRPC_CHANNEL_READY,
        std::chrono::system_clock::now() + std::chrono::seconds(20)));
  }
  EXPECT_EQ(later->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_EQ(server.mesh->Metrics().server.connections_leaving, 0);
  call(later);
}

TEST_F(IdentityTest, ARevokedCallerStaysOutWhenTheListsAreGone) {
  const certs::Issued shop = NewSvid(root_, kShop);
  client_files_.Write(shop, root_.root_pem());
  const auto source = std::make_shared<security::IdentitySource::Static>(
      NewIdentity(root_, kCart, {NewCrl(root_, {shop.serial})}));
  Options options;
  options.identity = source;
  Listening server(server_files_.PlainConfig("identity: {}\n"),
                   std::move(options));
  const auto refused = [&](const std::string& reason) {
    const auto by_reason = server.mesh->Metrics().server.peers_refused;
    return by_reason.count(reason) > 0;
  };
  Calling client(ClientConfig(server));
  client.ExpectFails(grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(refused("revoked"));
  source->Set(NewIdentity(root_, kCart));
  EXPECT_TRUE(WaitUntil([&] {
    EXPECT_FALSE(client.Call().ok());
    return refused("no_crl");
  }));
  EXPECT_EQ(server.service.calls, 0);
  source->Set(NewIdentity(root_, kCart, {NewCrl(root_, {})}));
  EXPECT_TRUE(WaitUntil([&] { return client.Call().ok(); }));
}

TEST_F(IdentityTest, ARevokedServerStaysOutWhenTheListsAreGone) {
  const certs::Issued cart = NewSvid(root_, kCart);
  server_files_.Write(cart, root_.root_pem());
  Listening server(ServerConfig());
  const auto source = std::make_shared<security::IdentitySource::Static>(
      NewIdentity(root_, kShop, {NewCrl(root_, {cart.serial})}));
  Options options;
  options.identity = source;
  Calling client(client_files_.PlainConfig(absl::StrCat(
                     "identity: {}\nservices: {cart: {", server.Endpoints(),
                     ", tls: {peer: \"", kCart, "\"}}}\n")),
                 std::move(options));
  const auto refused = [&](const std::string& reason) {
    return client.mesh->Metrics().services[0].peers_refused.count(reason) > 0;
  };
  client.ExpectFails(grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(refused("revoked"));
  source->Set(NewIdentity(root_, kShop));
  EXPECT_TRUE(WaitUntil([&] {
    EXPECT_FALSE(client.Call().ok());
    return refused("no_crl");
  }));
  EXPECT_EQ(server.service.calls, 0);
  source->Set(NewIdentity(root_, kShop, {NewCrl(root_, {})}));
  EXPECT_TRUE(WaitUntil([&] { return client.Call().ok(); }));
}

TEST_F(IdentityTest, ABadSecretIsNoBadConfiguration) {
  Listening server(ServerConfig());
  const std::string config = ClientConfig(server);
  Calling client(config);
  client.ExpectServedAs(kShop);
  client_files_.WriteRaw("tls.key", "no key");
  ASSERT_TRUE(WaitUntil(
      [&] { return !client.mesh->Metrics().identities[0].error.empty(); }));
  // The configuration changes meanwhile, and is applied.
  client_files_.Config(absl::StrCat("services: {cart: {", server.Endpoints(),
                                    ", tls: {peer: \"", kCart, "\"}}, other: {",
                                    server.Endpoints(), ", tls: {peer: \"",
                                    kCart, "\"}}}\n"));
  ASSERT_TRUE(
      WaitUntil([&] { return client.mesh->Metrics().config_reloads == 1; }));
  client.ExpectServedAs(kShop);
  client.channel = client.mesh->Channel("other");
  client.stub = TestService::NewStub(client.channel);
  client.ExpectServedAs(kShop);
  EXPECT_THAT(client.mesh->PrometheusText(),
              HasSubstr("mesh_identity_failing{identity=\"process\"} 1"));
}

TEST_F(IdentityTest, AReloadIsAppliedWhenTheFilesThatItNamesHaveCome) {
  const auto log = std::make_shared<Log>();
  Options options;
  options.log_sink = log->Sink();
  Listening server(ServerConfig("{mode: permissive}"), std::move(options));
  const auto now = [&] { return server.mesh->Metrics(); };
  server_files_.PlainConfig(
      "identity: {files: {cert: tls.pem, key: tls.key, ca: ca.pem, bundles: "
      "{partner: partner.pem}}}\n"
      "server: {mode: strict}\n");
  ASSERT_TRUE(WaitUntil([&] { return now().config_reload_failures == 1; }));
  EXPECT_THAT(now().config_error, HasSubstr("partner.pem"));
  // It is tried again, and nothing is said of that.
  absl::SleepFor(absl::Milliseconds(2500));
  EXPECT_EQ(now().config_reload_failures, 1);
  EXPECT_EQ(log->Count("is not applied"), 1) << log->Text();
  EXPECT_EQ(now().server.mode, "permissive");
  server_files_.WriteRaw("partner.pem", NewRoot("partner").root_pem());
  ASSERT_TRUE(WaitUntil([&] { return now().config_reloads == 1; }));
  EXPECT_EQ(now().config_error, "");
  EXPECT_EQ(now().server.mode, "strict");
  EXPECT_EQ(log->Count("could not be read"), 1) << log->Text();
}

TEST_F(IdentityTest, ABadFileAtStartIsAnError) {
  const std::string file = client_files_.Config("");
  const auto why = [&] {
    const auto mesh = Mesh::FromFile(file);
    EXPECT_EQ(mesh.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(mesh.status().message());
  };
  client_files_.WriteRaw("tls.key", "no key");
  EXPECT_THAT(why(), StartsWith(file + ":1:19: identity.files: the files "));
  client_files_.WriteRaw("tls.key", NewSvid(root_, kShop).key);
  EXPECT_THAT(why(), StartsWith(file + ":1:19: identity.files: the files "));
  client_files_.Remove("tls.key");
  EXPECT_THAT(why(),
              StartsWith(file + ":1:40: identity.files.key: the file \""));
}

TEST_F(IdentityTest, APublicKeyIsWarnedOfOnce) {
  const std::string file = client_files_.Config("");
  client_files_.MakePublic("tls.key");
  const auto log = std::make_shared<Log>();
  Options options;
  options.log_sink = log->Sink();
  const auto mesh = Mesh::FromFile(file, std::move(options));
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  ASSERT_TRUE(WaitUntil([&] { return log->Count("is in force") == 1; }));
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(log->Count("tls.key"), 1) << log->Text();
}

TEST_F(IdentityTest, AKeyGoesWithItsGenerationAtBothEnds) {
  auto cart = NewIdentity(root_, kCart);
  auto shop = NewIdentity(root_, kShop);
  const std::weak_ptr<const security::Identity> old[] = {cart, shop};
  const auto server_source =
      std::make_shared<security::IdentitySource::Static>(std::move(cart));
  const auto client_source =
      std::make_shared<security::IdentitySource::Static>(std::move(shop));
  Options options;
  options.identity = server_source;
  Listening server(server_files_.PlainConfig("identity: {}\n"),
                   std::move(options));
  options = Options();
  options.identity = client_source;
  // Its connection stays as it is for long.
  Calling client(client_files_.PlainConfig(absl::StrCat(
                     "identity: {spread: 100s}\nservices: {cart: {",
                     server.Endpoints(), ", tls: {peer: \"", kCart, "\"}}}\n")),
                 std::move(options));
  client.ExpectServedAs(kShop);
  server_source->Set(NewIdentity(root_, kCart));
  client_source->Set(NewIdentity(root_, kShop));
  for (const auto& identity : old) {
    EXPECT_TRUE(WaitUntil([&] { return identity.expired(); }));
  }
  client.ExpectServedAs(kShop);
}

TEST_F(IdentityTest, AServicesPeerMovesToAnotherDomainWhileItsFilesAreBad) {
  Listening server(ServerConfig("{mode: strict}"));
  const auto config = [&](const std::string& peer) {
    return client_files_.PlainConfig(absl::StrCat(
        "services: {cart: {", server.Endpoints(),
        ", tls: {ca_file: ca.pem, cert_file: tls.pem, key_file: tls.key, "
        "peer: \"",
        peer, "\"}}}\n"));
  };
  Calling client(config("spiffe://test/cart"));
  client.ExpectFails(grpc::StatusCode::UNAVAILABLE);
  client_files_.WriteRaw("tls.key", "no key");
  config(kCart);
  EXPECT_TRUE(
      WaitUntil([&] { return client.mesh->Metrics().config_reloads == 1; }));
  // Until the new connection is there they fail as they did.
  EXPECT_TRUE(WaitUntil([&] { return client.Call().ok(); }));
  client.ExpectServedAs(kShop);
}

TEST_F(IdentityTest, TheApplicationMayGiveTheIdentityLater) {
  Listening server(ServerConfig());
  const auto source = std::make_shared<security::IdentitySource::Static>();
  Options options;
  options.identity = source;
  Calling client(client_files_.PlainConfig(absl::StrCat(
                     "identity: {}\nservices: {cart: {", server.Endpoints(),
                     ", tls: {peer: \"", kCart, "\"}}}\n")),
                 std::move(options));
  // The call waits, though it does not wait for ready.
  std::thread later([&] {
    absl::SleepFor(absl::Milliseconds(300));
    source->Set(NewIdentity(root_, kShop));
  });
  client.ExpectServedAs(kShop);
  later.join();
}

TEST_F(IdentityTest, AnIdentityInCodeNeedsAWordInTheConfiguration) {
  Options options;
  options.identity = std::make_shared<security::IdentitySource::Static>();
  Files files;
  const auto mesh =
      Mesh::FromFile(files.PlainConfig("services: {}\n"), std::move(options));
  EXPECT_EQ(mesh.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(mesh.status().message()),
              HasSubstr("Write \"identity: {}\""));
  const auto other = Mesh::FromFile(files.PlainConfig("identity: {}\n"));
  EXPECT_THAT(std::string(other.status().message()),
              HasSubstr("Options::identity is not set"));
}

TEST_F(IdentityTest, AnAgentThatIsNotThereFailsCallsAfterTheTimeToStart) {
  Files files;
  Calling client(files.PlainConfig(
      "identity: {spiffe: \"unix:///nowhere/agent.sock\", start_timeout: 1s}\n"
      "services: {cart: {endpoints: [\"127.0.0.1:1\"], tls: {peer: "
      "\"spiffe://prod/cart\"}}}\n"));
  const grpc::Status status = client.Call();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("identity.start_timeout (1s)"));
  // From then on they fail at once.
  EXPECT_EQ(client.Call().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(IdentityTest, TheModeChangesWhileTheServerRuns) {
  Listening server(ServerConfig("{mode: plaintext}"));
  Files plain_files;
  Calling plain(plain_files.PlainConfig(
      absl::StrCat("services: {cart: {", server.Endpoints(), "}}\n")));
  Calling secure(ClientConfig(server));
  const auto mode = [&] { return server.mesh->Metrics().server.mode; };
  plain.ExpectServedAs("plaintext");

  ServerConfig("{mode: permissive}");
  ASSERT_TRUE(WaitUntil([&] { return mode() == "permissive"; }));
  plain.ExpectServedAs("plaintext");
  secure.ExpectServedAs(kShop);

  ServerConfig("{mode: strict}");
  ASSERT_TRUE(WaitUntil([&] { return mode() == "strict"; }));
  // Open connections have time to leave: no rule refuses their calls.
  EXPECT_NE(plain.Call().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  secure.ExpectServedAs(kShop);
  EXPECT_TRUE(WaitUntil([&] {
    return server.mesh->Metrics().server.connections_plaintext == 0;
  }));
  EXPECT_FALSE(plain.Call(nullptr, absl::Seconds(2)).ok());
  secure.ExpectServedAs(kShop);
}

TEST_F(IdentityTest, AllowHoldsForPlaintextThatHasToLeave) {
  const auto config = [&](const std::string& mode, const std::string& more) {
    return ServerConfig(absl::StrCat("{mode: ", mode,
                                     ", allow: [{methods: "
                                     "[\"mesh.test.TestService/Once\"",
                                     more, "]}]}"));
  };
  Listening server(config("plaintext", ""));
  const auto stub = TestService::NewStub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", server.port),
                          grpc::InsecureChannelCredentials()));
  const auto denied = [&] {
    Reply reply;
    grpc::ClientContext context;
    return stub->Unary(&context, Request(), &reply).error_code();
  };
  const auto allowed = [&] {
    Reply reply;
    grpc::ClientContext context;
    return stub->Once(&context, Request(), &reply).error_code();
  };
  EXPECT_EQ(denied(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(allowed(), grpc::StatusCode::UNIMPLEMENTED);
  config("strict", "");
  ASSERT_TRUE(
      WaitUntil([&] { return server.mesh->Metrics().config_reloads == 1; }));
  // The connection has 4 s.
  EXPECT_EQ(denied(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(allowed(), grpc::StatusCode::UNIMPLEMENTED);
  config("strict", ", \"mesh.test.TestService/Bidi\"");
  ASSERT_TRUE(
      WaitUntil([&] { return server.mesh->Metrics().config_reloads == 2; }));
  EXPECT_NE(denied(), grpc::StatusCode::OK);
  EXPECT_EQ(server.service.calls, 0);
}

TEST_F(IdentityTest, RulesAreReloadedAndCounted) {
  Listening server(
      ServerConfig("{allow: [{from: [\"spiffe://prod/shop\"], methods: "
                   "[\"mesh.test.TestService/*\"]}]}"));
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  ServerConfig("{deny: [{from: [\"spiffe://prod/shop\"]}]}");
  ASSERT_TRUE(
      WaitUntil([&] { return server.mesh->Metrics().config_reloads == 1; }));
  const int calls = server.service.calls;
  client.ExpectFails(grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(server.service.calls, calls);
  const telemetry::ServerSnapshot metrics = server.mesh->Metrics().server;
  ASSERT_EQ(metrics.denials.size(), 1);
  EXPECT_EQ(metrics.denials[0].rule, "deny[0]");
  EXPECT_EQ(metrics.denied_by_peer.at(kShop), metrics.denials[0].enforced);
  EXPECT_THAT(
      server.mesh->PrometheusText(),
      HasSubstr("mesh_server_denied_calls_total{rule=\"deny[0]\",mode="));
}

TEST_F(IdentityTest, ConnectionsAndPortsOutliveTheirMeshAndGoOnRotating) {
  Listening server(ServerConfig());
  Calling client(ClientConfig(server));
  client.ExpectServedAs(kShop);
  server.mesh.reset();
  client.mesh.reset();
  const certs::Authority next = NewRoot("next");
  const std::string both = root_.root_pem() + next.root_pem();
  server_files_.Write(NewSvid(next, kCart), both);
  client_files_.Write(NewSvid(next, kShop), both);
  client.ExpectServedAs(kShop);
  absl::SleepFor(absl::Seconds(2));
  server_files_.WriteRaw("ca.pem", next.root_pem());
  client_files_.WriteRaw("ca.pem", next.root_pem());
  absl::SleepFor(absl::Seconds(6));
  client.ExpectServedAs(kShop);
  // A newcomer that shows a leaf of the old authority is refused.
  Files old;
  old.Write(NewSvid(root_, kShop), both);
  Calling stranger(
      old.Config(absl::StrCat("services: {cart: {", server.Endpoints(),
                              ", tls: {peer: \"", kCart, "\"}}}\n")));
  EXPECT_FALSE(stranger.Call(nullptr, absl::Seconds(2)).ok());
}

TEST_F(IdentityTest, NoKeyIsInAnyText) {
  const certs::Issued svid = NewSvid(root_, kShop);
  client_files_.Write(svid, root_.root_pem());
  Listening server(ServerConfig());
  const auto log = std::make_shared<Log>();
  Options options;
  options.log_sink = log->Sink();
  Calling client(ClientConfig(server), std::move(options));
  client.ExpectServedAs(kShop);
  client_files_.WriteRaw("tls.pem", "-----BEGIN CERTIFICATE-----\n");
  ASSERT_TRUE(WaitUntil(
      [&] { return !client.mesh->Metrics().identities[0].error.empty(); }));
  ASSERT_TRUE(WaitUntil(
      [&] { return log->Count("are no identity that can be used") == 1; }));
  const std::string all = log->Text() + client.mesh->PrometheusText() +
                          client.mesh->ConfigText() +
                          client.mesh->Metrics().identities[0].error;
  EXPECT_EQ(log->Count("is in force"), 1);
  // Each line of the PEM text that has bytes of the key.
  std::vector<std::string> lines = absl::StrSplit(svid.key, '\n');
  for (const std::string& line : lines) {
    if (line.size() < 16 || line[0] == '-') continue;
    EXPECT_EQ(all.find(line), std::string::npos);
  }
}

}  // namespace
}  // namespace mesh::test
