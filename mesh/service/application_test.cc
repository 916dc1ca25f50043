#include "mesh/service/application.h"

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/service/service_test_util.h"

namespace mesh::service {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Thrower final : public telemetry::Observer {
 public:
  void OnProbe(const telemetry::ProbeEvent&) override {
    throw std::runtime_error("no disk");
  }
};

std::optional<grpc::ByteBuffer> ThrowingFallback(const FailedCall&) {
  throw std::runtime_error("no cache");
}

TEST(ApplicationTest, ALogSinkThatThrowsIsGivenTheNextLineToo) {
  std::vector<std::string> lines;
  const Application application(
      [&](LogSeverity, absl::string_view line) {
        lines.emplace_back(line);
        throw std::runtime_error("full");
      },
      {}, {}, nullptr);
  ::testing::internal::CaptureStderr();
  application.Log(LogSeverity::kWarning, "one");
  application.Log(LogSeverity::kWarning, "two");
  const std::string told = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(lines, ElementsAre("one", "two")) << "nothing of mesh's own";
  EXPECT_THAT(told, HasSubstr("log_sink"));
  EXPECT_THAT(told, HasSubstr("full"));
  EXPECT_EQ(told.find("log_sink"), told.rfind("log_sink")) << "once";
  ASSERT_EQ(application.Exceptions().size(), 1u);
  EXPECT_EQ(application.Exceptions()[0].code, "log_sink");
  EXPECT_EQ(application.Exceptions()[0].count, 2u);
}

TEST(ApplicationTest, AFallbackThatThrowsHasNoAnswer) {
  std::vector<std::string> told;
  const Application application(
      nullptr, {}, {{"cart", ThrowingFallback}},
      [&](const std::string& line) { told.push_back(line); });
  EXPECT_FALSE((*application.FallbackOf("cart"))(FailedCall()).has_value());
  EXPECT_FALSE((*application.FallbackOf("cart"))(FailedCall()).has_value());
  EXPECT_THAT(told, ElementsAre(::testing::AllOf(HasSubstr("fallbacks[cart]"),
                                                 HasSubstr("no cache"))));
  EXPECT_EQ(application.Exceptions()[0].count, 2u);
}

TEST(ApplicationTest, AServiceWithoutAFallbackHasNone) {
  const Application application(nullptr, {}, {{"cart", nullptr}}, nullptr);
  EXPECT_EQ(application.FallbackOf("cart"), nullptr);
  EXPECT_EQ(application.FallbackOf("stock"), nullptr);
}

TEST(ApplicationTest, OnlyWhatHasThrownIsListed) {
  const Application application(
      [](LogSeverity, absl::string_view) {},
      {std::make_shared<telemetry::Observer>(), std::make_shared<Thrower>()},
      {}, [](const std::string&) {});
  EXPECT_TRUE(application.Exceptions().empty());
  for (const auto& observer : application.observers()) observer->OnProbe({});
  ASSERT_EQ(application.Exceptions().size(), 1u);
  EXPECT_EQ(application.Exceptions()[0].code, "observers[1]");
}

TEST(ApplicationTest, TheLogNamesOnceWhatHasThrown) {
  FakeRuntime fake({std::make_shared<Thrower>()});
  const auto& observers = fake.runtime->application().observers();
  for (int i = 0; i < 3; ++i) observers[0]->OnProbe({});
  EXPECT_TRUE(fake.log.empty()) << "not on the thread of a call";
  fake.loop.Run();
  EXPECT_THAT(fake.log, ElementsAre(::testing::AllOf(HasSubstr("observers[0]"),
                                                     HasSubstr("no disk"))));
}

}  // namespace
}  // namespace mesh::service
