// What endpoints and reloads cost in memory, as malloc counts it.

#include <malloc.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"

namespace mesh::test {
namespace {

// Bytes in use.
int64_t Heap() {
  const struct mallinfo2 heap = mallinfo2();
  return static_cast<int64_t>(heap.uordblks + heap.hblkhd);
}

// `count` addresses at which nobody listens. Those of two rounds differ.
std::vector<std::string> Addresses(int round, int count) {
  std::vector<std::string> addresses;
  for (int i = 0; i < count; ++i) {
    addresses.push_back(absl::StrCat("127.", 1 + round, ".", i / 250, ".",
                                     100 + i % 100, ":", 1 + i % 250));
  }
  return addresses;
}

Options Quiet() {
  Options options;
  options.log_sink = [](LogSeverity, absl::string_view) {};
  return options;
}

class MemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    const int64_t before = Heap();
    char* volatile some = new char[4096];
    const bool counts = Heap() > before;
    delete[] some;
    if (!counts) GTEST_SKIP() << "a sanitizer's malloc counts nothing";
  }

  // What is in use while a service knows `count` endpoints, and dials none.
  int64_t HeapWithKnown(int count) {
    const std::string file =
        directory_.Write("endpoints.yaml", EndpointsFile(Addresses(0, count)));
    const std::string config = directory_.Write(
        "mesh.yaml",
        absl::StrCat("services:\n  test:\n    endpoints_file: {path: \"", file,
                     "\"}\n    connections: {ahead: 0}\n"));
    const std::unique_ptr<Mesh> mesh = Mesh::FromFile(config, Quiet()).value();
    const auto stub = StubOf(*mesh);
    EXPECT_TRUE(WaitUntil([&] {
      const telemetry::ServiceSnapshot metrics = ServiceMetrics(*mesh);
      return metrics.endpoints.size() + metrics.endpoints_left_out == count;
    }));
    return Heap();
  }

  TempDirectory directory_;
};

TEST_F(MemoryTest, AnEndpointThatIsKnownTakesAtMost400Bytes) {
  HeapWithKnown(4000);  // What is made once.
  const int64_t few = HeapWithKnown(2000);
  const int64_t many = HeapWithKnown(4000);
  EXPECT_LE((many - few) / 2000, 400);
}

// The last configuration is as big as the first. What is kept of one of 500
// endpoints in between would be 8 KB or more, were it a pointer each.
TEST_F(MemoryTest, ReloadsThatChangeAllEndpointsLeaveNothing) {
  constexpr int kEndpoints = 500, kFirst = 20, kReloads = 80;
  for (const int ahead : {0, 3}) {
    SCOPED_TRACE(absl::StrCat("ahead: ", ahead));
    const auto config = [ahead](int round) {
      v1::Config config = OneService(Addresses(round, kEndpoints));
      TheService(&config).mutable_connections()->set_ahead(ahead);
      return config;
    };
    const std::unique_ptr<Mesh> mesh = MakeMesh(config(0), Quiet());
    const auto stub = StubOf(*mesh);
    const auto reload = [&](int round) {
      ASSERT_TRUE(mesh->Reload(config(round)).ok());
      // What it dials is refused before the next one.
      absl::SleepFor(absl::Milliseconds(10));
    };
    for (int i = 1; i <= kFirst; ++i) reload(i);
    absl::SleepFor(absl::Seconds(1));  // What was dialled is closed.
    const int64_t before = Heap();
    for (int i = kFirst + 1; i <= kFirst + kReloads; ++i) reload(i);
    int64_t grown = 0;
    EXPECT_TRUE(WaitUntil([&] {
      grown = Heap() - before;
      return grown < kReloads * 1024;
    })) << grown;
  }
}

}  // namespace
}  // namespace mesh::test
