// The examples in docs/configuration.md and docs/security.md load.

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "mesh/config/loader.h"

namespace mesh::config {
namespace {

std::string Page(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path << " is not in the test's data";
  return std::string((std::istreambuf_iterator<char>(file)),
                     std::istreambuf_iterator<char>());
}

// The examples of a page, in their order.
std::vector<std::string> ExamplesOf(absl::string_view page) {
  std::vector<std::string> examples;
  for (;;) {
    constexpr absl::string_view kBegin = "```yaml\n";
    const size_t begin = page.find(kBegin);
    if (begin == absl::string_view::npos) return examples;
    page.remove_prefix(begin + kBegin.size());
    examples.emplace_back(page.substr(0, page.find("```")));
    page.remove_prefix(examples.back().size());
  }
}

TEST(ConfigurationGuideTest, HasOnlyExamplesThatLoad) {
  std::string dir = testing::TempDir() + "/guide_XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  for (const char* name : {"ca.pem", "shop.pem", "shop.key"}) {
    std::ofstream(dir + "/" + name) << "";
  }
  int configurations = 0, endpoints = 0;
  for (const std::string& example : ExamplesOf(Page("docs/configuration.md"))) {
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

TEST(SecurityGuideTest, HasOnlyExamplesThatLoad) {
  int configurations = 0;
  for (const std::string& example : ExamplesOf(Page("docs/security.md"))) {
    ++configurations;
    EXPECT_TRUE(absl::StartsWith(example, "# mesh.yaml\n")) << example;
    const auto options = LoadText(example, "mesh.yaml");
    EXPECT_TRUE(options.ok()) << options.status() << "\n" << example;
  }
  EXPECT_EQ(configurations, 8);
}

}  // namespace
}  // namespace mesh::config
