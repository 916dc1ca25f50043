#include "mesh/security/svid_response.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/certs/agent.h"
#include "mesh/security/source_test_util.h"
#include "mesh/security/workload.pb.h"

namespace mesh::security {
namespace {

using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr char kCart[] = "spiffe://prod/cart";

class SvidResponseTest : public testing::Test {
 protected:
  certs::AgentSvid Svid(const std::string& id, const std::string& hint) const {
    return {id, hint,
            BytesOf(*root_.Issue(
                        certs::SvidOptions(id, kNow, kNow + absl::Hours(1))),
                    root_.pem())};
  }
  workload::X509SVIDResponse Message() const {
    workload::X509SVIDResponse message;
    message.ParseFromString(*certs::AgentResponse({Svid(kCart, "")}));
    return message;
  }
  static std::string ErrorOf(const workload::X509SVIDResponse& message) {
    const auto read = ReadSvidResponse(message.SerializeAsString(), {});
    return std::string(read.status().message());
  }

  const certs::Authority root_ = RootAt(kNow, "root");
};

TEST_F(SvidResponseTest, MakesAnIdentityOfDer) {
  const auto middle = root_.MakeIntermediate(
      certs::AuthorityOptions("middle", kNow, kNow + absl::Hours(1)),
      *certs::Key::Make(certs::KeyType::kRsa));
  const certs::Authority other = RootAt(kNow, "other");
  const certs::Issued leaf = SvidOf(*middle, kNow, kNow + absl::Hours(1));
  IdentityBytes given = BytesOf(leaf, root_.pem() + other.pem());
  given.bundles["partner"] = other.pem();
  given.crls = {*root_.MakeCrl({kNow, kNow + absl::Hours(1)}),
                *middle->MakeCrl({kNow, kNow + absl::Hours(1)})};
  const auto read =
      ReadSvidResponse(*certs::AgentResponse({{kCart, "", given}}), {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->spiffe_id, kCart);
  EXPECT_EQ(read->bytes.chain, leaf.chain) << "PEM as OpenSSL writes it";
  EXPECT_EQ(read->bytes.key, leaf.key);
  EXPECT_EQ(read->bytes.bundles.size(), 2);
  EXPECT_EQ(read->bytes.bundles.at("prod"), given.bundles.at(""));
  EXPECT_EQ(read->bytes.bundles.at("partner"), other.pem());
  EXPECT_EQ(read->bytes.crls, given.crls);
  const auto identity = Identity::Make(read->bytes, kNow);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_TRUE((*identity)->is_trusted_by_itself());
}

TEST_F(SvidResponseTest, EveryKindOfKeyComesThrough) {
  for (const auto type : {certs::KeyType::kP256, certs::KeyType::kP384,
                          certs::KeyType::kRsa, certs::KeyType::kEd25519}) {
    const certs::Issued leaf = *root_.Issue(
        certs::SvidOptions(kCart, kNow, kNow + absl::Hours(1)), type);
    const auto read = ReadSvidResponse(
        *certs::AgentResponse({{kCart, "", BytesOf(leaf, root_.pem())}}), {});
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->bytes.key, leaf.key);
    EXPECT_TRUE(Identity::Make(read->bytes, kNow).ok());
  }
}

TEST_F(SvidResponseTest, TheFirstCountsUnlessHintOrIdSaysWhich) {
  const std::string message = *certs::AgentResponse(
      {Svid("spiffe://prod/a", "x"), Svid("spiffe://prod/b", "y"),
       Svid("spiffe://prod/b", "x")});
  EXPECT_EQ(ReadSvidResponse(message, {})->spiffe_id, "spiffe://prod/a");
  EXPECT_EQ(ReadSvidResponse(message, {"spiffe://prod/b", ""})->spiffe_id,
            "spiffe://prod/b");
  EXPECT_EQ(ReadSvidResponse(message, {"", "y"})->spiffe_id, "spiffe://prod/b");
  EXPECT_EQ(ReadSvidResponse(message, {"", "x"})->spiffe_id, "spiffe://prod/a");
  EXPECT_TRUE(ReadSvidResponse(message, {"spiffe://prod/b", "x"}).ok());
  const auto none = ReadSvidResponse(message, {"spiffe://prod/a", "y"});
  EXPECT_TRUE(absl::IsNotFound(none.status()));
  EXPECT_EQ(none.status().message(),
            "the agent gives this process no SVID with the id "
            "\"spiffe://prod/a\" and the hint \"y\"; it gives "
            "\"spiffe://prod/a\" (hint \"x\"), \"spiffe://prod/b\" (hint "
            "\"y\"), \"spiffe://prod/b\" (hint \"x\").");
}

TEST_F(SvidResponseTest, AnswersThatAreNone) {
  EXPECT_TRUE(absl::IsNotFound(ReadSvidResponse("", {}).status()));
  EXPECT_EQ(ReadSvidResponse("garbage", {}).status().message(),
            "the agent's answer is no X509SVIDResponse.");
}

TEST_F(SvidResponseTest, PartsThatAreCutOffSayWhich) {
  workload::X509SVIDResponse message = Message();
  EXPECT_EQ(ErrorOf(message), "");
  message.mutable_svids(0)->mutable_x509_svid()->pop_back();
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's SVID: it is cut off"));
  message = Message();
  message.mutable_svids(0)->mutable_x509_svid_key()->pop_back();
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's key: it is cut off"));
  message = Message();
  message.mutable_svids(0)->mutable_x509_svid_key()->push_back('x');
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's key"));
  message = Message();
  message.mutable_svids(0)->clear_bundle();
  EXPECT_EQ(ErrorOf(message), "the agent's bundle: it is empty.");
  message = Message();
  message.mutable_svids(0)->clear_x509_svid_key();
  EXPECT_EQ(ErrorOf(message), "the agent's key: it is empty.");
  message = Message();
  message.mutable_svids(0)->mutable_bundle()->append("\x30\x80\0\0", 4);
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's bundle: it is cut off"));
  message = Message();
  message.add_crl("\x30\x84\xff\xff\xff\xff", 6);
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's revocation list"));
  message = Message();
  message.mutable_svids(0)->set_spiffe_id("spiffe://PROD/cart");
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's SPIFFE ID"));
}

TEST_F(SvidResponseTest, ForeignBundlesAreByTheirTrustDomain) {
  workload::X509SVIDResponse message = Message();
  const std::string bundle = message.svids(0).bundle();
  auto& foreign = *message.mutable_federated_bundles();
  foreign["spiffe://a"] = bundle;
  foreign["b"] = bundle;
  foreign["spiffe://empty"] = "";
  // Nobody else speaks for this trust domain.
  foreign["spiffe://prod"] = bundle + bundle;
  const auto read = ReadSvidResponse(message.SerializeAsString(), {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->bytes.bundles, testing::UnorderedElementsAre(
                                       testing::Pair("a", root_.pem()),
                                       testing::Pair("b", root_.pem()),
                                       testing::Pair("prod", root_.pem())));
  foreign["spiffe://a/b"] = bundle;
  EXPECT_THAT(ErrorOf(message), HasSubstr("the agent's federated bundle"));
}

TEST(PemOfDerTest, LinesHave64Characters) {
  for (int size = 0; size < 130; ++size) {
    std::string der = "\x30";
    if (size >= 128) der += '\x81';
    der += static_cast<char>(size);
    der += std::string(size, 'a');
    const auto pem = PemOfDer(der, "THING");
    ASSERT_TRUE(pem.ok()) << size;
    EXPECT_TRUE(absl::StartsWith(*pem, "-----BEGIN THING-----\n"));
    EXPECT_TRUE(absl::EndsWith(*pem, "\n-----END THING-----\n"));
    EXPECT_FALSE(absl::StrContains(*pem, '\0'));
    size_t longest = 0;
    for (size_t at = 0; at < pem->size();) {
      const size_t end = pem->find('\n', at);
      longest = std::max(longest, end - at);
      at = end + 1;
    }
    EXPECT_LE(longest, 64);
  }
  EXPECT_FALSE(PemOfDer("", "THING").ok());
  EXPECT_FALSE(PemOfDer("\x30", "THING").ok());
  EXPECT_FALSE(PemOfDer(absl::string_view("\x31\0", 2), "THING").ok());
  EXPECT_FALSE(PemOfDer("\x30\x85\1\1\1\1\1", "THING").ok());
}

}  // namespace
}  // namespace mesh::security
