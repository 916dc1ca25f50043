// Both doors of mesh on one connection: a client's and a server's.

#include <memory>
#include <string>
#include <utility>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/security/client_credentials.h"
#include "mesh/security/identity.h"
#include "tests/listen/door_test_util.h"

namespace mesh::test {
namespace {

constexpr char kId[] = "spiffe://prod/caller";

class ClientDoorTest : public testing::Test {
 protected:
  std::shared_ptr<grpc::ChannelCredentials> Credentials(
      const certs::Issued& client, const std::string& authorities,
      const std::string& peer) {
    security::IdentityBytes bytes;
    bytes.chain = client.chain;
    bytes.key = client.key;
    bytes.bundles[""] = authorities;
    return security::ClientCredentials(
               *security::Identity::Make(bytes, base::WallTime()),
               {{*security::PeerPattern::Parse(peer)}, {}}, &base::WallTime,
               counters_)
        .Make(nullptr);
  }
  Answer AskDoor(const Door& door,
                 std::shared_ptr<grpc::ChannelCredentials> credentials) const {
    const auto stub = NewStub(door.target(), std::move(credentials));
    return Ask(stub.get());
  }

  const std::shared_ptr<security::ClientCounters> counters_ =
      std::make_shared<security::ClientCounters>();
};

TEST_F(ClientDoorTest, EachSideKnowsTheOther) {
  const Pki pki;
  const certs::Issued client = pki.NewClient(kId);
  Believer believer;
  believer.Believe(client.chain, kId);
  Door door(pki, believer.Now(), {/*tls=*/true, /*plaintext=*/false});
  const Answer good =
      AskDoor(door, Credentials(client, pki.root(), "dns:localhost"));
  EXPECT_TRUE(good.status.ok()) << good.status.error_message();
  EXPECT_EQ(good.caller, kId);
  EXPECT_EQ(door.seen().calls, 1);
  // Each refuses the other, and goes on.
  const Answer other =
      AskDoor(door, Credentials(client, pki.root(), "dns:other"));
  EXPECT_EQ(other.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(counters_->count(security::PeerRefusal::kNotAllowed), 1);
  const Answer stranger = AskDoor(
      door, Credentials(pki.NewClient(kId), pki.root(), "dns:localhost"));
  EXPECT_EQ(stranger.status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(door.seen().calls, 1);
  EXPECT_TRUE(AskDoor(door, Credentials(client, pki.root(), "dns:localhost"))
                  .status.ok());
}

TEST_F(ClientDoorTest, BothAuthoritiesCountWhileOneReplacesTheOther) {
  const Pki before("before");
  const Pki after("after");
  const certs::Issued client = before.NewClient(kId);
  Believer believer;
  believer.Believe(client.chain, kId);
  Door door(before, believer.Now(), {/*tls=*/true, /*plaintext=*/false});
  const auto ask = [&](const std::string& authorities) {
    return AskDoor(door, Credentials(client, authorities, "dns:localhost"))
        .status.ok();
  };
  EXPECT_TRUE(ask(before.root()));
  EXPECT_TRUE(ask(before.root() + after.root()));
  EXPECT_FALSE(ask(after.root()));
  core::ServerPair pair = after.NewServerPair();
  pair.client_authorities =
      std::make_shared<const std::string>(before.root() + after.root());
  door.Show(pair);
  EXPECT_FALSE(ask(before.root()));
  EXPECT_TRUE(ask(before.root() + after.root()));
  EXPECT_TRUE(ask(after.root()));
}

}  // namespace
}  // namespace mesh::test
