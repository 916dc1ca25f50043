// The main() of a fuzz target's test. It runs the target once on each file that
// is named on the command line, each as a test of its own. Then it runs it for
// 5 s on what a Mutator makes of these files. MESH_FUZZ_SECONDS is another
// time.
//
// An input that ends the process, or that takes more than 10 s, is written to
// the standard error and into the directory of the test's outputs.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/testing/mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// There under a sanitizer only.
extern "C" void __sanitizer_set_death_callback(void (*callback)())
    __attribute__((weak));

namespace {

using mesh::testing::Mutator;

constexpr unsigned kMostSeconds = 10;  // For one input.

// What the target is given now, and the file for it, for a signal's handler.
std::atomic<const std::string*> input{nullptr};
std::string* const output = new std::string;

void Put(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, size);
    if (written <= 0) return;
    data += written;
    size -= static_cast<size_t>(written);
  }
}

// Calls only what a handler may call.
void SayInput() {
  const std::string* const text = input.exchange(nullptr);
  if (text == nullptr) return;
  constexpr char kTitle[] = "\nthe input that did it:\n";
  Put(STDERR_FILENO, kTitle, sizeof(kTitle) - 1);
  Put(STDERR_FILENO, text->data(), text->size());
  Put(STDERR_FILENO, "\n", 1);
  if (output->empty()) return;
  const int fd = open(output->c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return;
  Put(fd, text->data(), text->size());
  close(fd);
}

void OnSignal(int number) {
  SayInput();
  signal(number, SIG_DFL);
  raise(number);
}

void CatchDeath() {
  if (const char* directory = getenv("TEST_UNDECLARED_OUTPUTS_DIR")) {
    *output = std::string(directory) + "/input";
  }
  signal(SIGABRT, OnSignal);
  signal(SIGALRM, OnSignal);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(SayInput);
  } else {
    signal(SIGSEGV, OnSignal);
  }
}

void Try(const std::string& text) {
  // A copy of just its size, so that a sanitizer sees a read beyond it.
  const std::vector<uint8_t> bytes(text.begin(), text.end());
  input = &text;
  alarm(kMostSeconds);
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  alarm(0);
  input = nullptr;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << "cannot open " << path;
  return std::string((std::istreambuf_iterator<char>(file)),
                     std::istreambuf_iterator<char>());
}

class CorpusTest : public testing::Test {
 public:
  explicit CorpusTest(std::string path) : path_(std::move(path)) {}

  void TestBody() override { Try(ReadFile(path_)); }

 private:
  const std::string path_;
};

class MutationTest : public testing::Test {
 public:
  explicit MutationTest(std::vector<std::string> paths)
      : paths_(std::move(paths)) {}

  void TestBody() override {
    std::vector<std::string> corpus;
    for (const std::string& path : paths_) corpus.push_back(ReadFile(path));
    const Mutator mutator(std::move(corpus));
    int seconds = 5;
    const char* const wanted = getenv("MESH_FUZZ_SECONDS");
    if (wanted != nullptr) {
      ASSERT_TRUE(absl::SimpleAtoi(wanted, &seconds));
    }
    const mesh::base::Clock& clock = mesh::base::Clock::Real();
    const absl::Time end = clock.Now() + absl::Seconds(seconds);
    uint64_t seed = 0;
    for (; clock.Now() < end; ++seed) Try(mutator.Make(seed));
    RecordProperty("inputs", std::to_string(seed));
  }

 private:
  const std::vector<std::string> paths_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  CatchDeath();
  const std::vector<std::string> paths(argv + 1, argv + argc);
  for (const std::string& path : paths) {
    const std::string name = path.substr(path.rfind('/') + 1);
    testing::RegisterTest(
        "CorpusTest", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [path]() -> testing::Test* { return new CorpusTest(path); });
  }
  testing::RegisterTest(
      "MutationTest", "AnyInput", nullptr, nullptr, __FILE__, __LINE__,
      [paths]() -> testing::Test* { return new MutationTest(paths); });
  return RUN_ALL_TESTS();
}
