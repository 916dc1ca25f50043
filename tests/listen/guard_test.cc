// What is refused is refused before any handler, whatever API it is written
// with, and with TLS as without.

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/server/api_server_test_util.h"
#include "mesh/server/listen.h"
#include "tests/listen/door_test_util.h"

namespace mesh::test {
namespace {

using server::Api;
using server::GuardedCall;
using server::Kind;
using server::ListenOptions;
using server::Script;
using server::VerifyPeer;

// What every handler answers. A generic one has no message for an OK.
constexpr grpc::StatusCode kHandled = grpc::StatusCode::ABORTED;
constexpr char kId[] = "spiffe://prod/cart";

// A server of one API that has a port of mesh, which takes both wires.
class ApiDoor {
 public:
  ApiDoor(Api api, ListenOptions options)
      : server_(api, Script{false, kHandled},
                [&](grpc::ServerBuilder* builder) {
                  options.wires = {true, true};
                  options.pair = [pair = pki_.NewServerPair()] { return pair; };
                  if (options.verify == nullptr) {
                    Believer believer;
                    believer.Believe(client_.chain, kId);
                    options.verify = believer.Now();
                  }
                  door_ = *server::Listen(builder, "127.0.0.1:0",
                                          std::move(options), &port_);
                }) {}

  grpc::Status Call(Kind kind, bool tls) {
    const auto stub = NewStub(
        absl::StrCat("127.0.0.1:", port_),
        tls ? pki_.Credentials(client_) : grpc::InsecureChannelCredentials());
    grpc::ClientContext context;
    context.AddMetadata("token", "secret");
    return server::Server::Call(stub.get(), kind, &context);
  }
  // Over the builder's other port.
  grpc::Status CallElsewhere(Kind kind) {
    grpc::ClientContext context;
    return server_.Call(kind, &context);
  }

  server::Server& server() { return server_; }
  server::ServerDoor& door() { return *door_; }

 private:
  const Pki pki_;
  const certs::Issued client_ = pki_.NewClient(kId);
  int port_ = 0;
  std::shared_ptr<server::ServerDoor> door_;
  server::Server server_;
};

class EveryApi : public testing::TestWithParam<std::tuple<Api, Kind>> {
 protected:
  Api api() const { return std::get<0>(GetParam()); }
  Kind kind() const { return std::get<1>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(
    ApiAndKind, EveryApi,
    testing::Combine(testing::ValuesIn(server::AllApis()),
                     testing::Values(Kind::kUnary, Kind::kClientStream,
                                     Kind::kServerStream, Kind::kBidi)),
    server::NameOfApiAndKind);

TEST_P(EveryApi, AHandlerKnowsWhoCalls) {
  ApiDoor door(api(), {});
  ASSERT_EQ(door.Call(kind(), true).error_code(), kHandled);
  ASSERT_TRUE(door.server().seen_peer().has_value());
  EXPECT_EQ(door.server().seen_peer()->spiffe_id, kId);
  EXPECT_FALSE(door.server().seen_peer()->plaintext);
  ASSERT_EQ(door.Call(kind(), false).error_code(), kHandled);
  ASSERT_TRUE(door.server().seen_peer().has_value());
  EXPECT_TRUE(door.server().seen_peer()->plaintext);
  EXPECT_EQ(door.server().seen_peer()->spiffe_id, "");
  ASSERT_EQ(door.CallElsewhere(kind()).error_code(), kHandled);
  EXPECT_FALSE(door.server().seen_peer().has_value());
}

TEST_P(EveryApi, WhatTheRulesDenyNoHandlerSees) {
  ListenOptions options;
  options.authorize = [](const GuardedCall& call) {
    return call.headers == nullptr;  // Never.
  };
  ApiDoor door(api(), std::move(options));
  for (const bool tls : {true, false}) {
    const grpc::Status status = door.Call(kind(), tls);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_EQ(status.error_message(), "the caller may not call this method.");
  }
  EXPECT_EQ(door.server().handled(), 0);
  EXPECT_EQ(door.CallElsewhere(kind()).error_code(), kHandled)
      << "the other port has no rules";
  EXPECT_EQ(door.server().handled(), 1);
}

TEST_P(EveryApi, APeerThatIsNotVerifiedIsSeenByNoHandler) {
  ListenOptions options;
  options.verify = Believer().Now();
  std::atomic<bool> asked{false};
  options.authorize = [&](const GuardedCall&) { return asked = true; };
  ApiDoor door(api(), std::move(options));
  const grpc::Status status = door.Call(kind(), true);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(),
            "the caller is not verified: its name is not known.");
  EXPECT_FALSE(asked) << "peers come before rules";
  EXPECT_EQ(door.server().handled(), 0);
  EXPECT_EQ(door.Call(kind(), false).error_code(), kHandled)
      << "plaintext is another matter";
}

// Refuses without a token, and takes the token away.
class TokenProcessor final : public grpc::AuthMetadataProcessor {
 public:
  TokenProcessor(bool blocking, std::string token)
      : blocking_(blocking), token_(std::move(token)) {}
  bool IsBlocking() const override { return blocking_; }
  grpc::Status Process(const InputMetadata& headers, grpc::AuthContext* context,
                       OutputMetadata* consumed, OutputMetadata*) override {
    if (token_ == "throws") throw std::runtime_error("as told");
    const auto it = headers.find("token");
    if (it == headers.end() ||
        std::string(it->second.data(), it->second.size()) != token_) {
      return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no token");
    }
    if (context->FindPropertyValues("transport_security_type").empty()) {
      return grpc::Status(grpc::StatusCode::INTERNAL, "no context");
    }
    consumed->emplace("token", token_);
    return grpc::Status::OK;
  }

 private:
  const bool blocking_;
  const std::string token_;
};

TEST_P(EveryApi, TheApplicationsProcessorHasTheLastWord) {
  for (const bool blocking : {false, true}) {
    ListenOptions options;
    options.processor = std::make_shared<TokenProcessor>(blocking, "secret");
    ApiDoor good(api(), std::move(options));
    EXPECT_EQ(good.Call(kind(), true).error_code(), kHandled);
    EXPECT_EQ(good.Call(kind(), false).error_code(), kHandled);
    EXPECT_EQ(good.server().handled(), 2);

    options = ListenOptions();
    options.processor = std::make_shared<TokenProcessor>(blocking, "other");
    ApiDoor bad(api(), std::move(options));
    EXPECT_EQ(bad.Call(kind(), true).error_message(), "no token");
    EXPECT_EQ(bad.Call(kind(), false).error_code(),
              grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(bad.server().handled(), 0);
  }
}

TEST(GuardTest, WhatAProcessorThrowsEndsTheCallOnly) {
  for (const bool blocking : {false, true}) {
    ListenOptions options;
    options.processor = std::make_shared<TokenProcessor>(blocking, "throws");
    ApiDoor door(Api::kSync, std::move(options));
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(door.Call(Kind::kUnary, true).error_code(),
                grpc::StatusCode::INTERNAL);
    }
    EXPECT_EQ(door.server().handled(), 0);
  }
}

TEST(GuardTest, TheRulesSeePathPeerAndHeaders) {
  std::string path;
  std::string peer;
  std::string token;
  ListenOptions options;
  options.authorize = [&](const GuardedCall& call) {
    path = std::string(call.path);
    peer = call.peer->spiffe_id;
    token =
        std::string(core::FindHeader(call.headers, call.header_count, "token"));
    return true;
  };
  ApiDoor door(Api::kSync, std::move(options));
  ASSERT_EQ(door.Call(Kind::kUnary, true).error_code(), kHandled);
  EXPECT_EQ(path, "/mesh.test.TestService/Unary");
  EXPECT_EQ(peer, kId);
  EXPECT_EQ(token, "secret");
}

}  // namespace
}  // namespace mesh::test
