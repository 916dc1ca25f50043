// The main() of a corpus test: runs a fuzz target once on each file that is
// named on the command line, each as a test of its own.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

class CorpusTest : public testing::Test {
 public:
  explicit CorpusTest(std::string path) : path_(std::move(path)) {}

  void TestBody() override {
    std::ifstream file(path_, std::ios::binary);
    ASSERT_TRUE(file) << "cannot open " << path_;
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    // A copy of just its size, so that a sanitizer sees a read beyond it.
    const std::vector<uint8_t> bytes(text.begin(), text.end());
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }

 private:
  const std::string path_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string path = argv[i];
    const std::string name = path.substr(path.rfind('/') + 1);
    testing::RegisterTest(
        "CorpusTest", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [path]() -> testing::Test* { return new CorpusTest(path); });
  }
  return RUN_ALL_TESTS();
}
