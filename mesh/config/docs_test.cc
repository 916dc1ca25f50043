// The examples in docs/configuration.md load.

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"

namespace mesh::config {
namespace {

TEST(ConfigurationGuideTest, HasOnlyExamplesThatLoad) {
  std::ifstream file("docs/configuration.md");
  ASSERT_TRUE(file) << "docs/configuration.md is not in the test's data";
  const std::string page((std::istreambuf_iterator<char>(file)),
                         std::istreambuf_iterator<char>());
  std::string dir = testing::TempDir() + "/guide_XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  for (const char* name : {"ca.pem", "shop.pem", "shop.key"}) {
    std::ofstream(dir + "/" + name) << "";
  }

  int configurations = 0, endpoints = 0;
  absl::string_view rest = page;
  for (;;) {
    constexpr absl::string_view kBegin = "```yaml\n";
    const size_t begin = rest.find(kBegin);
    if (begin == absl::string_view::npos) break;
    rest.remove_prefix(begin + kBegin.size());
    const absl::string_view example = rest.substr(0, rest.find("```"));
    rest.remove_prefix(example.size());
    if (absl::StartsWith(example, "# mesh.yaml\n")) {
      ++configurations;
      const auto options = LoadText(example, dir + "/mesh.yaml");
      EXPECT_TRUE(options.ok()) << options.status() << "\n" << example;
    } else {
      ++endpoints;
      const auto set = ParseEndpoints(example, dir + "/catalog.yaml");
      EXPECT_TRUE(set.ok()) << set.status() << "\n" << example;
    }
  }
  EXPECT_EQ(configurations, 3);
  EXPECT_EQ(endpoints, 1);
}

}  // namespace
}  // namespace mesh::config
