#include "mesh/front/identities.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/base/clock.h"
#include "mesh/security/source_test_util.h"
#include "mesh/service/service_test_util.h"
#include "mesh/testing/no_threads.h"

namespace mesh::front {
namespace {

using security::IdentitySource;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class IdentitiesTest : public ::testing::Test {
 protected:
  IdentitiesTest() : directory_(::testing::TempDir() + "/identities_XXXXXX") {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    for (const char* name : {"a.pem", "b.pem"}) {
      std::ofstream(Path(name))
          << security::RootAt(base::WallTime(), name).root_pem();
    }
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(directory_, "/", name);
  }

  // Adds a service whose authorities are in that file.
  void Add(const std::string& name, const std::string& file,
           const std::vector<std::string>& peer = {}) {
    auto service = std::make_shared<options::ServiceOptions>();
    service->name = name;
    service->tls.emplace().ca_file = Path(file);
    service->tls->peer = peer;
    options_.services[name] = std::move(service);
  }

  Identities& Make(std::shared_ptr<IdentitySource> given = nullptr) {
    return identities_.emplace(
        fake_.runtime, std::make_shared<GenerationCounter>(), std::move(given));
  }
  absl::Status Apply() {
    auto made = identities_->For(
        options_, now_,
        [this](const std::string& name) { return name == given_; });
    if (made.ok()) now_ = *std::move(made);
    return made.status();
  }
  std::string NameOf(const std::string& file) {
    options::TlsOptions tls;
    tls.ca_file = Path(file);
    const auto holder = now_.Of(tls);
    return holder != nullptr ? holder->name() : "none";
  }

  service::FakeRuntime fake_;
  std::string directory_;
  options::MeshOptions options_;
  std::string given_;  // The service with credentials in code.
  std::optional<Identities> identities_;
  NamedIdentities now_;
};

TEST_F(IdentitiesTest, ServicesWithTheSameFilesShareAnIdentity) {
  Make();
  Add("cart", "a.pem");
  Add("shop", "a.pem");
  ASSERT_TRUE(Apply().ok());
  ASSERT_EQ(now_.own.size(), 1);
  EXPECT_EQ(NameOf("a.pem"), "cart");
  const auto holder = now_.own[0].second;
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(now_.own[0].second, holder) << "an unchanged reload keeps it";
}

TEST_F(IdentitiesTest, NoTwoHaveOneName) {
  Make();
  Add("cart", "a.pem");
  Add("shop", "a.pem");
  ASSERT_TRUE(Apply().ok());
  Add("cart", "b.pem");
  Add("process", "b.pem");
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(NameOf("a.pem"), "cart");
  EXPECT_EQ(NameOf("b.pem"), "cart#2");
  options_.services.clear();
  now_ = NamedIdentities();
  Add("process", "b.pem");
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(NameOf("b.pem"), "process#2");
}

TEST_F(IdentitiesTest, FilesOfAServiceWithCredentialsInCodeDoNotCount) {
  Make();
  Add("cart", "missing.pem");
  const absl::Status status = Apply();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              StartsWith("services.cart.tls.ca_file: the file "));
  given_ = "cart";
  EXPECT_TRUE(Apply().ok());
  EXPECT_EQ(NameOf("missing.pem"), "none");
}

TEST_F(IdentitiesTest, TheApplicationsSourceStaysWhateverIsWritten) {
  Make(std::make_shared<IdentitySource::Static>());
  EXPECT_THAT(std::string(Apply().message()), HasSubstr("identity: {}"));
  options_.identity.emplace();
  ASSERT_TRUE(Apply().ok());
  const auto holder = now_.process;
  ASSERT_NE(holder, nullptr);
  options_.identity->source = options::SpiffeSource{"unix:///no/agent", "", ""};
  ASSERT_TRUE(Apply().ok());
  EXPECT_EQ(now_.process, holder);
}

TEST_F(IdentitiesTest, AnotherPeerKeepsTheSourceWhateverItsFilesAreNow) {
  Make();
  Add("cart", "a.pem", {"spiffe://prod/cart"});
  ASSERT_TRUE(Apply().ok());
  const auto holder = now_.own[0].second;
  std::ofstream(Path("a.pem")) << "a bad one";
  Add("cart", "a.pem", {"spiffe://test/cart", "dns:cart"});
  const absl::Status status = Apply();
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(now_.own.size(), 1);
  EXPECT_EQ(now_.own[0].second, holder);
}

TEST_F(IdentitiesTest, AThreadThatWasNotToBeHadIsAskedForAgain) {
  Make();
  Add("cart", "a.pem");
  {
    const testing::NoThreads none;
    const absl::Status status = Apply();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no thread"));
  }
  EXPECT_TRUE(Apply().ok());
}

TEST_F(IdentitiesTest, AnErrorHasThePlaceOfItsField) {
  Make();
  options::IdentityFiles files;
  files.ca = Path("a.pem");
  files.crl = {Path("b.pem"), Path("missing.pem")};
  options_.identity.emplace().source = files;
  options_.places = {{"identity.files", "mesh.yaml:1:2: "},
                     {"identity.files.crl[1]", "mesh.yaml:3:4: "},
                     {"services.cart.tls", "mesh.yaml:5:6: "}};
  EXPECT_EQ(Apply().message(),
            absl::StrCat("mesh.yaml:3:4: identity.files.crl[1]: the file \"",
                         files.crl[1],
                         "\" could not be read: No such file or directory."));
  // The files are one unit, so it is nobody's fault alone.
  files.crl.pop_back();
  options_.identity->source = files;
  EXPECT_THAT(
      std::string(Apply().message()),
      StartsWith("mesh.yaml:1:2: identity.files: the files \"" + files.ca));
  // What was built in code has no places.
  options_.identity.reset();
  options_.places.erase("services.cart.tls");
  std::ofstream(Path("bad.pem")) << "a bad one";
  Add("cart", "bad.pem");
  EXPECT_THAT(std::string(Apply().message()),
              StartsWith("services.cart.tls: the files \""));
}

class Throws final : public IdentitySource {
 public:
  void Subscribe(std::weak_ptr<security::IdentityListener>) override {
    throw std::runtime_error("no source");
  }
};

TEST_F(IdentitiesTest, ASourceOfTheApplicationThatThrowsEndsNothing) {
  Make(std::make_shared<Throws>());
  options_.identity.emplace();
  EXPECT_TRUE(Apply().ok());
  now_.process->Start();
  EXPECT_EQ(now_.process->state().identity, nullptr);
  fake_.loop.Run();
  ASSERT_FALSE(fake_.log.empty());
  EXPECT_THAT(fake_.log[0], HasSubstr("no source"));
}

}  // namespace
}  // namespace mesh::front
