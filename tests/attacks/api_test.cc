// Who is refused is refused before any handler: in each API that a server may
// be written with, and for each kind of call.

#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "gtest/gtest.h"
#include "mesh/server/api_server_test_util.h"
#include "tests/attacks/key_bytes.h"
#include "tests/attacks/site.h"

namespace mesh::test {
namespace {

using options::ServerMode;
using options::ServerOptions;
using server::Api;
using server::Kind;
using server::Script;

// What every handler answers. A generic one has no message for an OK.
constexpr grpc::StatusCode kHandled = grpc::StatusCode::ABORTED;

// A server of one API, with the identity of the cast's server.
class ApiSite {
 public:
  ApiSite(Api api, ServerOptions rules)
      : rules_(std::make_shared<RulesSlot>(std::move(rules))),
        server_(api, Script{false, kHandled}, [this](auto* builder) {
          const auto identity = TheCast().IdentityOf(TheCast().server);
          server::ListenOptions options;
          options.wires = {true, true};
          options.pair = [pair = PairOf(*identity)] { return pair; };
          options.verify = VerifyBy(identity);
          options.authorize = [slot = rules_](const auto& call) {
            return slot->Admits(call);
          };
          door_ = *server::Listen(builder, "127.0.0.1:0", std::move(options),
                                  &port_);
        }) {}

  // Without TLS if `shown` has no chain.
  grpc::StatusCode Call(Kind kind, const Shown& shown) {
    std::shared_ptr<grpc::ChannelCredentials> credentials =
        grpc::InsecureChannelCredentials();
    if (!shown.chain.empty()) {
      grpc::SslCredentialsOptions options;
      options.pem_root_certs = TheCast().root.pem();
      options.pem_cert_chain = shown.chain;
      options.pem_private_key = shown.key->Pem();
      credentials = grpc::SslCredentials(options);
    }
    const auto stub =
        NewStub("127.0.0.1:" + std::to_string(port_), credentials);
    grpc::ClientContext context;
    const grpc::Status status =
        server::Server::Call(stub.get(), kind, &context);
    Outputs::OfProcess().Add(status.error_message());
    return status.error_code();
  }

  void SetRules(ServerOptions rules) { rules_->Set(std::move(rules)); }
  int handled() { return server_.handled(); }

 private:
  const std::shared_ptr<RulesSlot> rules_;
  int port_ = 0;
  std::shared_ptr<server::ServerDoor> door_;
  server::Server server_;
};

class EveryApi : public testing::TestWithParam<std::tuple<Api, Kind>> {};

INSTANTIATE_TEST_SUITE_P(
    ApiAndKind, EveryApi,
    testing::Combine(testing::ValuesIn(server::AllApis()),
                     testing::Values(Kind::kUnary, Kind::kClientStream,
                                     Kind::kServerStream, Kind::kBidi)),
    server::NameOfApiAndKind);

TEST_P(EveryApi, NoHandlerSeesWhoIsRefused) {
  const auto [api, kind] = GetParam();
  const Cast& cast = TheCast();
  const Shown plaintext;
  // Its authority is one of ours, for another trust domain.
  const Shown impostor = ShownOf(cast.other, cast.Options(kCart));
  const Shown stranger = ShownOf(cast.stranger, cast.Options(kCart));
  ServerOptions rules;
  rules.mode = ServerMode::kPermissive;
  const ServerOptions open = rules;
  ApiSite site(api, open);
  EXPECT_EQ(site.Call(kind, stranger), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(site.Call(kind, impostor), grpc::StatusCode::UNAUTHENTICATED);
  options::Rule method;
  method.methods = {"mesh.test.TestService/*"};
  rules.deny = {method};
  site.SetRules(rules);
  for (const Shown& shown : {cast.client, plaintext}) {
    EXPECT_EQ(site.Call(kind, shown), grpc::StatusCode::PERMISSION_DENIED);
  }
  rules = Allow(From({"spiffe://prod/admin"}));
  site.SetRules(rules);
  for (const Shown& shown : {cast.client, plaintext}) {
    EXPECT_EQ(site.Call(kind, shown), grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_EQ(site.handled(), 0);
  rules = Allow(From({kCart}));
  site.SetRules(rules);
  EXPECT_EQ(site.Call(kind, cast.client), kHandled);
  EXPECT_EQ(site.handled(), 1);
  site.SetRules(open);
  EXPECT_EQ(site.Call(kind, plaintext), kHandled);
  EXPECT_EQ(site.handled(), 2);
}

}  // namespace
}  // namespace mesh::test
