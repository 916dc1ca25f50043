#include "mesh/front/background.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "mesh/balancing/picker.h"
#include "mesh/config/loader.h"

namespace mesh::front {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kTarget[] = "127.0.0.1:1";

std::vector<std::string> NamesOf(const Background& background) {
  std::vector<std::string> names;
  for (const auto& service : background.Metrics().services) {
    names.push_back(service.service);
  }
  return names;
}

TEST(BackgroundTest, OneTargetWithTheSameCredentialsIsOneService) {
  Background background;
  const auto one = background.Service(kTarget, nullptr);
  EXPECT_EQ(background.Service(kTarget, nullptr), one);
  EXPECT_NE(background.Service("127.0.0.1:2", nullptr), one);
  EXPECT_EQ(one->name(), kTarget);
}

TEST(BackgroundTest, ServicesShareAllThatTheirTargetsDoNotSay) {
  Background background;
  const auto one = background.Service(kTarget, nullptr);
  const auto other = background.Service("127.0.0.1:2", nullptr);
  const auto bad = background.Service("no:such:target", nullptr);
  const auto* const options = one->Snapshot()->policies.options();
  ASSERT_NE(options, nullptr);
  EXPECT_EQ(other->Snapshot()->policies.options(), options);
  EXPECT_EQ(bad->Snapshot()->policies.options(), nullptr);
}

TEST(BackgroundTest, OtherCredentialsAreAnotherServiceWithANumber) {
  Background background;
  const auto plain = background.Service(kTarget, nullptr);
  const auto mine = grpc::InsecureChannelCredentials();
  const auto second = background.Service(kTarget, mine);
  EXPECT_NE(second, plain);
  EXPECT_EQ(second->name(), "127.0.0.1:1#2");
  EXPECT_EQ(background.Service(kTarget, mine), second);
  const auto third =
      background.Service(kTarget, grpc::InsecureChannelCredentials());
  EXPECT_EQ(third->name(), "127.0.0.1:1#3");
}

TEST(BackgroundTest, AServiceThatNobodyHasIsGoneAndItsNameIsFree) {
  Background background;
  auto plain = background.Service(kTarget, nullptr);
  const auto second =
      background.Service(kTarget, grpc::InsecureChannelCredentials());
  plain.reset();
  EXPECT_THAT(NamesOf(background), ElementsAre("127.0.0.1:1#2"));
  EXPECT_EQ(background.Service(kTarget, nullptr)->name(), kTarget);
}

TEST(BackgroundTest, CredentialsDoNotOutliveTheirService) {
  Background background;
  auto credentials = grpc::InsecureChannelCredentials();
  const std::weak_ptr<grpc::ChannelCredentials> weak = credentials;
  auto service = background.Service(kTarget, credentials);
  credentials.reset();
  service.reset();
  // The next one that is made clears up.
  const auto other = background.Service("127.0.0.1:2", nullptr);
  while (!weak.expired()) {
    // The control thread still has what it was to configure.
    (void)background.Metrics();
  }
  EXPECT_THAT(NamesOf(background), ElementsAre("127.0.0.1:2"));
}

TEST(BackgroundTest, CallsOfABadTargetFailAtOnceAndSayWhy) {
  Background background;
  const auto service = background.Service("no address", nullptr);
  const auto picker = service->Snapshot()->picker;
  const balancing::PickResult result = picker->Pick(balancing::PickArgs());
  EXPECT_EQ(result.kind, balancing::PickResult::Kind::kDrop);
  ASSERT_NE(result.status, nullptr);
  EXPECT_EQ(result.status->code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status->message()),
              testing::HasSubstr("no address"));
}

TEST(BackgroundTest, NothingIsThereBeforeAChannelIsMade) {
  Background background;
  EXPECT_THAT(NamesOf(background), IsEmpty());
}

TEST(BackgroundTest, TheTextOfItsConfigurationReadsBack) {
  Background background;
  EXPECT_TRUE(config::LoadText(background.ConfigText(), "empty.yaml").ok());
  const std::vector<std::string> targets = {kTarget, "dns:///shop.prod:8080",
                                            "dns://10.0.0.53/[::1]:80",
                                            "unix:/run/a.sock,10.0.0.1:80"};
  std::vector<std::shared_ptr<service::Service>> services;
  for (const std::string& target : targets) {
    services.push_back(background.Service(target, nullptr));
  }
  services.push_back(
      background.Service(kTarget, grpc::InsecureChannelCredentials()));
  const std::string text = background.ConfigText();
  const auto options = config::LoadText(text, "written.yaml");
  ASSERT_TRUE(options.ok()) << options.status() << "\n" << text;
  EXPECT_EQ(options->services.size(), 5u) << text;
  EXPECT_EQ(options->services.at("dns:///shop.prod:8080")->authority,
            "shop.prod:8080");
  EXPECT_THAT(text, testing::StartsWith("# services[\"127.0.0.1:1#2\"]: its "
                                        "credentials are given in code.\n"));
}

TEST(BackgroundTest, TheTextSaysWhatNoConfigurationCan) {
  Background background;
  const auto bad = background.Service("no:such\ntarget", nullptr);
  const auto abstract = background.Service("unix-abstract:a", nullptr);
  const std::string text = background.ConfigText();
  EXPECT_TRUE(config::LoadText(text, "written.yaml").ok()) << text;
  EXPECT_THAT(text,
              testing::HasSubstr("# \"no:such\\ntarget\" has no place in a "
                                 "configuration. "));
  EXPECT_THAT(text, testing::HasSubstr("# \"unix-abstract:a\" has no place in "
                                       "a configuration. "));
}

}  // namespace
}  // namespace mesh::front
