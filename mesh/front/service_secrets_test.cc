#include "mesh/front/service_secrets.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/certs/authority.h"
#include "mesh/front/identity_holder.h"
#include "mesh/security/identity.h"
#include "mesh/security/source_test_util.h"
#include "mesh/service/service_test_util.h"

namespace mesh::front {
namespace {

using security::IdentityNotice;
using security::IdentityPtr;
using security::IdentitySource;
using security::PeerPattern;
using ::testing::HasSubstr;

class ServiceSecretsTest : public ::testing::Test {
 protected:
  ServiceSecretsTest()
      : now_(base::WallTime()),
        root_(security::RootAt(now_, "root")),
        next_(security::RootAt(now_, "next")) {}

  IdentityPtr Identity(const std::vector<certs::Authority>& trusted,
                       absl::Duration lives = absl::Hours(1)) {
    std::string bundle;
    for (const certs::Authority& one : trusted) bundle += one.root_pem();
    return *security::Identity::Make(
        security::BytesOf(security::SvidOf(trusted.front(), now_, now_ + lives),
                          bundle),
        now_ + absl::Seconds(1));
  }

  std::shared_ptr<IdentityHolder> Hold(
      std::shared_ptr<IdentitySource> source,
      absl::Duration start_timeout = absl::Seconds(10)) {
    auto holder = IdentityHolder::Make("process", fake_.runtime, generations_,
                                       std::move(source), start_timeout);
    holder->Start();
    return holder;
  }

  static SecretsPolicy PolicyOf(std::shared_ptr<IdentityHolder> holder,
                                const std::vector<std::string>& peer) {
    SecretsPolicy policy;
    policy.identity = std::move(holder);
    for (const std::string& one : peer) {
      policy.peer.push_back(*PeerPattern::Parse(one));
    }
    return policy;
  }

  const absl::Time now_;
  const certs::Authority root_;
  const certs::Authority next_;
  service::FakeRuntime fake_;
  const std::shared_ptr<GenerationCounter> generations_ =
      std::make_shared<GenerationCounter>();
  const std::shared_ptr<ServiceSecrets> secrets_ =
      std::make_shared<ServiceSecrets>(generations_);
};

TEST_F(ServiceSecretsTest, TheSamePolicyGivesTheSameSecrets) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity({root_}));
  const SecretsPolicy policy = PolicyOf(Hold(source), {"spiffe://prod/cart"});
  secrets_->Apply(policy);
  const service::SecretsPtr first = secrets_->Secrets();
  ASSERT_NE(first->make, nullptr);
  EXPECT_EQ(first->withdrawn_before, 0);
  secrets_->Apply(policy);
  EXPECT_EQ(secrets_->Secrets().get(), first.get());
  // The same identity once more is no news either.
  source->Set(policy.identity->state().identity);
  EXPECT_EQ(secrets_->Secrets().get(), first.get());
}

TEST_F(ServiceSecretsTest, ARenewalIsSpreadAndWithdrawsNothing) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity({root_}));
  secrets_->Apply(PolicyOf(Hold(source), {"spiffe://prod/cart"}));
  const uint64_t before = secrets_->Secrets()->generation;
  // A tenth of the lifetime.
  source->Set(Identity({root_, next_}, absl::Seconds(60)));
  EXPECT_GT(secrets_->Secrets()->generation, before);
  EXPECT_EQ(secrets_->Secrets()->withdrawn_before, 0);
  EXPECT_EQ(secrets_->Secrets()->spread, absl::Seconds(6));
  // At most half a minute.
  source->Set(Identity({root_, next_}, absl::Hours(9)));
  EXPECT_EQ(secrets_->Secrets()->spread, absl::Seconds(30));
}

TEST_F(ServiceSecretsTest, AWithdrawalIsRememberedByLaterGenerations) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity({root_, next_}));
  secrets_->Apply(PolicyOf(Hold(source), {"spiffe://prod/cart"}));
  source->Set(Identity({next_}));
  const uint64_t withdrawn = secrets_->Secrets()->withdrawn_before;
  EXPECT_EQ(withdrawn, secrets_->Secrets()->generation);
  source->Set(Identity({next_}));
  EXPECT_GT(secrets_->Secrets()->generation, withdrawn);
  EXPECT_EQ(secrets_->Secrets()->withdrawn_before, withdrawn);
}

struct Narrowing {
  std::vector<std::string> before;
  options::CrlMode crl_before;
  std::vector<std::string> after;
  options::CrlMode crl_after;
  bool withdraws;
};

TEST_F(ServiceSecretsTest, ANarrowerPeerWithdrawsAtOnce) {
  const auto holder =
      Hold(std::make_shared<IdentitySource::Static>(Identity({root_})));
  constexpr auto kDefault = options::CrlMode::kDefault;
  constexpr auto kRequire = options::CrlMode::kRequire;
  constexpr auto kIfPresent = options::CrlMode::kIfPresent;
  const std::string cart = "spiffe://prod/cart";
  const std::string shop = "spiffe://prod/shop";
  const std::vector<Narrowing> cases = {
      {{cart}, kDefault, {cart, shop}, kDefault, false},
      {{cart, shop}, kDefault, {shop, cart}, kDefault, false},
      {{cart, shop}, kDefault, {shop}, kDefault, true},
      {{cart}, kDefault, {shop}, kDefault, true},
      {{}, kDefault, {cart}, kDefault, true},
      {{cart}, kDefault, {}, kDefault, true},
      {{cart}, kIfPresent, {cart}, kRequire, true},
      {{cart}, kRequire, {cart}, kIfPresent, false},
  };
  for (const Narrowing& one : cases) {
    SCOPED_TRACE(absl::StrCat(one.before.size(), " to ", one.after.size()));
    const auto secrets = std::make_shared<ServiceSecrets>(generations_);
    SecretsPolicy policy = PolicyOf(holder, one.before);
    policy.crl = one.crl_before;
    secrets->Apply(policy);
    const uint64_t before = secrets->Secrets()->generation;
    policy = PolicyOf(holder, one.after);
    policy.crl = one.crl_after;
    secrets->Apply(policy);
    const service::SecretsPtr now = secrets->Secrets();
    EXPECT_GT(now->generation, before);
    EXPECT_EQ(now->withdrawn_before, one.withdraws ? now->generation : 0);
    EXPECT_EQ(now->spread, absl::ZeroDuration());
  }
}

TEST_F(ServiceSecretsTest, FromPlaintextToTlsIsNarrowerAndNotBack) {
  const SecretsPolicy tls = PolicyOf(
      Hold(std::make_shared<IdentitySource::Static>(Identity({root_}))),
      {"spiffe://prod/cart"});
  SecretsPolicy plaintext;
  plaintext.credentials = grpc::InsecureChannelCredentials();
  secrets_->Apply(plaintext);
  EXPECT_EQ(secrets_->Secrets()->make(nullptr), plaintext.credentials);
  secrets_->Apply(tls);
  const uint64_t withdrawn = secrets_->Secrets()->withdrawn_before;
  EXPECT_EQ(withdrawn, secrets_->Secrets()->generation);
  EXPECT_NE(secrets_->Secrets()->make(nullptr), plaintext.credentials);
  secrets_->Apply(plaintext);
  EXPECT_GT(secrets_->Secrets()->generation, withdrawn);
  EXPECT_LE(secrets_->Secrets()->withdrawn_before, withdrawn);
}

TEST_F(ServiceSecretsTest, CallsWaitForTheFirstIdentityAndThenFail) {
  const auto source = std::make_shared<IdentitySource::Static>();
  const auto holder = Hold(source, absl::Seconds(10));
  secrets_->Apply(PolicyOf(holder, {"spiffe://prod/cart"}));
  EXPECT_EQ(secrets_->Secrets()->make, nullptr);
  EXPECT_TRUE(secrets_->Secrets()->missing.ok());

  holder->OnNotice({IdentityNotice::Kind::kNoAnswer, "the agent is away."});
  fake_.loop.Advance(absl::Seconds(9));
  EXPECT_TRUE(secrets_->Secrets()->missing.ok());
  fake_.loop.Advance(absl::Seconds(2));
  const absl::Status missing = secrets_->Secrets()->missing;
  EXPECT_EQ(missing.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr("identity.start_timeout (10s): the agent is away."));

  source->Set(Identity({root_}));
  EXPECT_NE(secrets_->Secrets()->make, nullptr);
  EXPECT_TRUE(secrets_->Secrets()->missing.ok());
  EXPECT_EQ(holder->Metrics().refused.at("no_answer"), 1);
  EXPECT_EQ(holder->Metrics().error, "");
}

TEST_F(ServiceSecretsTest, AnotherSpreadReplacesNothing) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity({root_}));
  SecretsPolicy policy = PolicyOf(Hold(source), {"spiffe://prod/cart"});
  secrets_->Apply(policy);
  const service::SecretsPtr before = secrets_->Secrets();
  policy.spread = absl::Seconds(7);
  secrets_->Apply(policy);
  EXPECT_EQ(secrets_->Secrets().get(), before.get());
  source->Set(Identity({root_, next_}));
  EXPECT_EQ(secrets_->Secrets()->spread, absl::Seconds(7));
}

TEST_F(ServiceSecretsTest, TheSameBytesAgainAreNoNews) {
  const IdentityPtr identity = Identity({root_});
  const auto source = std::make_shared<IdentitySource::Static>(identity);
  secrets_->Apply(PolicyOf(Hold(source), {"spiffe://prod/cart"}));
  const service::SecretsPtr before = secrets_->Secrets();
  source->Set(
      *security::Identity::Make(identity->bytes(), now_ + absl::Seconds(1)));
  EXPECT_EQ(secrets_->Secrets().get(), before.get());
}

TEST_F(ServiceSecretsTest, AnotherSourceKeepsTheIdentityUntilItHasOne) {
  const auto old =
      Hold(std::make_shared<IdentitySource::Static>(Identity({root_, next_})));
  secrets_->Apply(PolicyOf(old, {"spiffe://prod/cart"}));
  const auto source = std::make_shared<IdentitySource::Static>();
  const auto holder = IdentityHolder::Make(
      "process", fake_.runtime, generations_, source, absl::Seconds(10), old);
  holder->Start();
  secrets_->Apply(PolicyOf(holder, {"spiffe://prod/cart"}));
  EXPECT_NE(secrets_->Secrets()->make, nullptr);
  EXPECT_EQ(secrets_->Secrets()->withdrawn_before, 0);
  fake_.loop.Advance(absl::Seconds(11));
  EXPECT_NE(secrets_->Secrets()->make, nullptr);
  // What the first of its own takes away is withdrawn.
  source->Set(Identity({next_}));
  EXPECT_EQ(secrets_->Secrets()->withdrawn_before,
            secrets_->Secrets()->generation);
}

TEST_F(ServiceSecretsTest, EachServiceOfTheNameIsToldWhateverBecameOfOthers) {
  const auto source =
      std::make_shared<IdentitySource::Static>(Identity({root_, next_}));
  secrets_->Apply(PolicyOf(Hold(source), {"spiffe://prod/cart"}));
  auto options = std::make_shared<options::ServiceOptions>();
  options->name = "cart";
  options->source = options::DnsOptions();
  const auto kept = service::Service::Create(fake_.runtime, "cart", options);
  auto other = service::Service::Create(fake_.runtime, "cart", options);
  for (const auto& service : {kept, other}) {
    secrets_->Tell(service);
    service->Configure(options, secrets_->Secrets(), absl::OkStatus(), 1);
  }
  kept->Start();
  fake_.loop.Run();
  fake_.discovery.Report({"a:1"});
  fake_.loop.Run();
  fake_.network.Set("a:1", GRPC_CHANNEL_READY);
  fake_.loop.Run();
  other.reset();
  fake_.loop.Run();
  source->Set(Identity({next_}));
  fake_.loop.Advance(absl::Seconds(2));
  EXPECT_EQ(fake_.network.made("a:1"), 2);
}

TEST_F(ServiceSecretsTest, SecretsKeepTheirSourceAndNothingKeepsItself) {
  auto source = std::make_shared<IdentitySource::Static>(Identity({root_}));
  const std::weak_ptr<IdentitySource> weak = source;
  auto secrets = std::make_shared<ServiceSecrets>(generations_);
  secrets->Apply(PolicyOf(Hold(std::move(source)), {"spiffe://prod/cart"}));
  service::SecretsPtr held = secrets->Secrets();
  secrets.reset();
  EXPECT_FALSE(weak.expired());
  held.reset();
  EXPECT_TRUE(weak.expired());
}

}  // namespace
}  // namespace mesh::front
