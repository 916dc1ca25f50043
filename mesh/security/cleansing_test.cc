// Looks into memory as it is given back: no source leaves the bytes of a key
// there. What OpenSSL and gRPC have of their own is not seen.

#include <malloc.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/base/event_loop.h"
#include "mesh/certs/agent.h"
#include "mesh/security/files.h"
#include "mesh/security/pem.h"
#include "mesh/security/source_test_util.h"
#include "mesh/security/workload_api.h"

namespace {

// A part of the key as it stands in PKCS #8, and one as it stands in PEM.
std::array<char, 24> g_der;
std::array<char, 24> g_pem;
std::atomic<int> g_found{0};
thread_local bool g_watched = false;

void GiveBack(void* memory) {
  if (g_watched && memory != nullptr) {
    const size_t size = malloc_usable_size(memory);
    for (const auto& part : {&g_der, &g_pem}) {
      if (memmem(memory, size, part->data(), part->size()) != nullptr) {
        g_found.fetch_add(1);
      }
    }
  }
  std::free(memory);
}

}  // namespace

// Blocks are empty at first, so what is found in one was written into it.
void* operator new(size_t size) {
  void* const memory = std::calloc(1, size);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { GiveBack(memory); }
void operator delete(void* memory, size_t) noexcept { GiveBack(memory); }

namespace mesh::security {
namespace {

constexpr absl::Duration kHour = absl::Hours(1);

class CleansingTest : public testing::Test {
 protected:
  CleansingTest() {
    const std::string pem = key_.Pem();
    const std::string der = PemBlocks(pem, "PRIVATE KEY", 1)->front();
    // The private number has 32 bytes from the 36th on (RFC 5958, RFC 5915). In
    // PEM a line has 48 bytes, so the rest of it begins the second one.
    const size_t second = pem.find('\n', pem.find('\n') + 1) + 1;
    std::memcpy(g_der.data(), der.data() + 36, g_der.size());
    std::memcpy(g_pem.data(), pem.data() + second, g_pem.size());
    loop_->Post([] { g_watched = true; });
    g_found = 0;
  }

  // An SVID with the key that is looked for.
  certs::Issued Next(absl::Duration from_now = -kHour) const {
    return *root_.Issue(
        certs::SvidOptions("spiffe://prod/cart", now_ + from_now, now_ + kHour),
        key_);
  }
  // Everything on the loop's thread has gone when this returns.
  void Leave(std::shared_ptr<IdentitySource> source) {
    source.reset();
    loop_->Stop();
  }

  const absl::Time now_ = base::WallTime();
  const certs::Key key_ = *certs::Key::Make(certs::KeyType::kP256);
  const certs::Authority root_ = RootAt(now_, "root");
  const std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
  const std::shared_ptr<base::EventLoop> loop_ =
      std::make_shared<base::EventLoop>("cleansing-test");
};

TEST_F(CleansingTest, AKeyThatIsNotCleansedIsFound) {
  auto pem = std::make_unique<std::string>(key_.Pem());
  auto der =
      std::make_unique<std::string>(PemBlocks(*pem, "PRIVATE KEY", 1)->front());
  g_watched = true;
  pem.reset();
  EXPECT_EQ(g_found, 1);
  der.reset();
  EXPECT_EQ(g_found, 2);
  g_watched = false;
}

TEST_F(CleansingTest, AnAgentsAnswersLeaveNothing) {
  const std::string address =
      absl::StrCat("unix:/tmp/mesh_cleansing_", getpid());
  auto agent = certs::Agent::Start(address);
  ASSERT_TRUE(agent.ok()) << agent.status();
  auto source = WorkloadApiSource::Make(address, {}, loop_);
  ASSERT_TRUE(source.ok()) << source.status();
  (*source)->Subscribe(heard_);
  const auto push = [&](const std::string& id, const certs::Issued& svid) {
    (*agent)->Push(
        *certs::AgentResponse({{id, "", BytesOf(svid, root_.pem())}}));
  };
  // Good ones, one that is not what the agent says, and one that is early.
  for (int i = 0; i < 2; ++i) {
    const certs::Issued svid = Next();
    push("spiffe://prod/cart", svid);
    ASSERT_TRUE(heard_->WaitForSerial(svid.serial));
    size_t told = heard_->notices().size();
    push("spiffe://prod/shop", svid);
    ASSERT_TRUE(
        heard_->WaitFor([&] { return heard_->notices().size() > told; }));
    ++told;
    push("spiffe://prod/cart", Next(kHour / 2));
    ASSERT_TRUE(
        heard_->WaitFor([&] { return heard_->notices().size() > told; }));
  }
  Leave(*std::move(source));
  EXPECT_EQ(g_found, 0);
  agent->reset();
  unlink(address.c_str() + 5);
}

TEST_F(CleansingTest, FilesLeaveNothing) {
  std::string directory = testing::TempDir() + "/cleansing_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const auto put = [&](const std::string& name, const std::string& text) {
    std::ofstream(directory + "/new") << text;
    std::filesystem::rename(directory + "/new", directory + "/" + name);
  };
  const auto put_all = [&](const certs::Issued& svid) {
    put("tls.crt", svid.chain);
    put("tls.key", svid.key);
    put("ca.crt", root_.pem());
  };
  put_all(Next());
  IdentityPaths paths;
  paths.cert = directory + "/tls.crt";
  paths.key = directory + "/tls.key";
  paths.bundles[""] = directory + "/ca.crt";
  g_watched = true;
  auto source = FileSource::Make(std::move(paths), loop_);
  g_watched = false;
  ASSERT_TRUE(source.ok()) << source.status();
  (*source)->Subscribe(heard_);
  for (int i = 0; i < 2; ++i) {
    const size_t told = heard_->notices().size();
    put("ca.crt", "no certificate");
    ASSERT_TRUE(
        heard_->WaitFor([&] { return heard_->notices().size() > told; }));
    const certs::Issued svid = Next();
    put_all(svid);
    ASSERT_TRUE(heard_->WaitForSerial(svid.serial));
  }
  Leave(*std::move(source));
  EXPECT_EQ(g_found, 0);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace mesh::security
