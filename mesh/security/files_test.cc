#include "mesh/security/files.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/security/source_test_util.h"

namespace mesh::security {
namespace {

using Kind = IdentityNotice::Kind;
constexpr absl::Duration kHour = absl::Hours(1);

// Real files, a real thread, and the real clock.
class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest()
      : directory_(absl::StrCat(
            testing::TempDir(), "/files_",
            testing::UnitTest::GetInstance()->current_test_info()->name())),
        root_(RootAt(now_, "root")),
        first_(SvidOf(root_, now_ - kHour, now_ + kHour)) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  ~FileSourceTest() override { std::filesystem::remove_all(directory_); }

  std::string In(const std::string& name) const {
    return absl::StrCat(directory_, "/", name);
  }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(In(name), std::ios::trunc) << text;
    chmod(In(name).c_str(), 0600);
  }
  // Through a rename.
  void Put(const std::string& name, const std::string& text) const {
    Write(name + ".new", text);
    ASSERT_EQ(rename(In(name + ".new").c_str(), In(name).c_str()), 0);
  }
  void PutAll(const std::string& directory, const certs::Issued& issued) const {
    Put(directory + "tls.key", issued.key);
    Put(directory + "tls.crt", issued.chain);
    Put(directory + "ca.crt", root_.pem());
  }
  certs::Issued Next() const {
    return SvidOf(root_, now_ - kHour, now_ + kHour);
  }

  IdentityPaths Files(const std::string& directory = "") const {
    IdentityPaths files;
    files.cert = In(directory + "tls.crt");
    files.key = In(directory + "tls.key");
    files.bundles[""] = In(directory + "ca.crt");
    return files;
  }
  void Start(IdentityPaths files) {
    auto made = FileSource::Make(std::move(files));
    ASSERT_TRUE(made.ok()) << made.status();
    source_ = *std::move(made);
    source_->Subscribe(heard_);
    ASSERT_EQ(heard_->serial(), first_.serial);
  }

  const absl::Time now_ = base::WallTime();
  const std::string directory_;
  const certs::Authority root_;
  const certs::Issued first_;
  const std::shared_ptr<Heard> heard_ = std::make_shared<Heard>();
  std::shared_ptr<FileSource> source_;
};

TEST_F(FileSourceTest, PublishesWhatIsThereAndWhatComes) {
  PutAll("", first_);
  Start(Files());
  for (int i = 0; i < 5; ++i) {
    const certs::Issued next = Next();
    PutAll("", next);
    ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  }
  EXPECT_EQ(heard_->identities().size(), 6) << "each of them once";
  EXPECT_THAT(heard_->notices(), testing::IsEmpty());
}

TEST_F(FileSourceTest, FollowsTheSwappedLinkOfKubernetes) {
  const auto make = [&](const std::string& name, const certs::Issued& issued) {
    std::filesystem::create_directory(In(name));
    PutAll(name + "/", issued);
  };
  make("..0", first_);
  ASSERT_EQ(symlink("..0", In("..data").c_str()), 0);
  for (const std::string file : {"tls.crt", "tls.key", "ca.crt"}) {
    ASSERT_EQ(symlink(("..data/" + file).c_str(), In(file).c_str()), 0);
  }
  Start(Files());
  for (int i = 1; i < 5; ++i) {
    const certs::Issued next = Next();
    const std::string name = absl::StrCat("..", i);
    make(name, next);
    ASSERT_EQ(symlink(name.c_str(), In("..tmp").c_str()), 0);
    ASSERT_EQ(rename(In("..tmp").c_str(), In("..data").c_str()), 0);
    std::filesystem::remove_all(In(absl::StrCat("..", i - 1)));
    ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  }
  EXPECT_EQ(heard_->identities().size(), 5);
  EXPECT_THAT(heard_->notices(), testing::IsEmpty());
}

TEST_F(FileSourceTest, FollowsADirectoryThatIsReplaced) {
  std::filesystem::create_directory(In("certs"));
  PutAll("certs/", first_);
  Start(Files("certs/"));
  const certs::Issued next = Next();
  std::filesystem::create_directory(In("next"));
  PutAll("next/", next);
  ASSERT_EQ(rename(In("certs").c_str(), In("old").c_str()), 0);
  ASSERT_EQ(rename(In("next").c_str(), In("certs").c_str()), 0);
  EXPECT_TRUE(heard_->WaitForSerial(next.serial));
  EXPECT_THAT(heard_->notices(), testing::IsEmpty());
}

TEST_F(FileSourceTest, WritesInPlaceAreReadWhenTheyAreDone) {
  PutAll("", first_);
  Start(Files());
  const certs::Issued next = Next();
  for (const auto& [name, text] : {std::make_pair("tls.key", next.key),
                                   std::make_pair("tls.crt", next.chain)}) {
    std::ofstream file(In(name), std::ios::trunc);
    for (const char c : text) file << c << std::flush;
  }
  EXPECT_TRUE(heard_->WaitForSerial(next.serial));
  EXPECT_EQ(heard_->identities().size(), 2);
}

TEST_F(FileSourceTest, ACutBundleIsNeverPublished) {
  const certs::Authority other = RootAt(now_, "other");
  const std::string both = root_.pem() + other.pem();
  PutAll("", first_);
  Put("ca.crt", both);
  Start(Files());
  bool fast = true;
  for (int i = 0; i < 3; ++i) {
    // Whole to look at, and half of what it is to be.
    const absl::Time before = base::Clock::Real().Now();
    Write("ca.crt", root_.pem());
    Write("ca.crt", both);
    fast = fast && base::Clock::Real().Now() - before < absl::Milliseconds(90);
    const certs::Issued next = Next();
    Put("tls.key", next.key);
    Put("tls.crt", next.chain);
    ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  }
  if (!fast) GTEST_SKIP() << "the machine took too long between two writes";
  for (const IdentityPtr& identity : heard_->identities()) {
    EXPECT_EQ(identity->bytes().bundles.at(""), both);
  }
}

TEST_F(FileSourceTest, ATornPairIsToldOfAndMended) {
  PutAll("", first_);
  Start(Files());
  const certs::Issued next = Next();
  Put("tls.key", next.key);
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kBad));
  EXPECT_EQ(heard_->identities().size(), 1);
  Put("tls.crt", next.chain);
  ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kRecovered));
}

TEST_F(FileSourceTest, FilesThatGoAndComeBackAreFollowed) {
  PutAll("", first_);
  Start(Files());
  unlink(In("tls.crt").c_str());
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kUnreadable));
  EXPECT_THAT(heard_->notices()[0].text,
              testing::HasSubstr(absl::StrCat("the file \"", In("tls.crt"),
                                              "\" could not be read: No such "
                                              "file or directory.")));
  const certs::Issued next = Next();
  PutAll("", next);
  EXPECT_TRUE(heard_->WaitForSerial(next.serial));
}

TEST_F(FileSourceTest, OneThatCannotBeOpenedIsToldOfOnce) {
  PutAll("", first_);
  Start(Files());
  // A socket can be looked at, and not opened. Its path is short.
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  absl::SNPrintF(address.sun_path, sizeof(address.sun_path),
                 "/tmp/mesh_files_%d", getpid());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  std::filesystem::create_symlink(address.sun_path, In("link"));
  std::filesystem::rename(In("link"), In("ca.crt"));
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kUnreadable));
  // The next word would come 2 s after the next look.
  std::this_thread::sleep_for(std::chrono::seconds(4));
  EXPECT_EQ(heard_->notices().size(), 1);
  close(fd);
  unlink(address.sun_path);
}

TEST_F(FileSourceTest, OneThatIsNotValidYetComesInItsTime) {
  PutAll("", first_);
  Start(Files());
  const absl::Time from = base::WallTime() + absl::Seconds(2);
  const certs::Issued next = SvidOf(root_, from, now_ + kHour);
  PutAll("", next);
  ASSERT_TRUE(heard_->WaitForSerial(next.serial));
  EXPECT_GE(base::WallTime(), from - absl::Seconds(1));
}

TEST_F(FileSourceTest, ListsAndBundlesOfOtherDomainsAreOfTheUnit) {
  const certs::Authority other = RootAt(now_, "other");
  PutAll("", first_);
  const std::string crl = *root_.MakeCrl({now_ - kHour, now_ + kHour});
  Put("crl.pem", crl);
  Put("other.crt", other.pem());
  IdentityPaths files = Files();
  files.bundles["other"] = In("other.crt");
  files.crls = {In("crl.pem")};
  Start(files);
  EXPECT_EQ(heard_->identities()[0]->bytes().bundles.at("other"), other.pem());
  EXPECT_THAT(heard_->identities()[0]->bytes().crls, testing::ElementsAre(crl));
  const std::string next =
      *root_.MakeCrl({now_ - kHour, now_ + kHour, 2, {first_.serial}});
  Put("crl.pem", next);
  ASSERT_TRUE(
      heard_->WaitFor([&] { return heard_->identities().size() == 2; }));
  EXPECT_THAT(heard_->identities()[1]->bytes().crls,
              testing::ElementsAre(next));
}

TEST_F(FileSourceTest, AKeyThatEverybodyMayReadIsToldOf) {
  PutAll("", first_);
  Start(Files());
  const certs::Issued next = Next();
  Write("tls.key.new", next.key);
  chmod(In("tls.key.new").c_str(), 0644);
  ASSERT_EQ(rename(In("tls.key.new").c_str(), In("tls.key").c_str()), 0);
  Put("tls.crt", next.chain);
  ASSERT_TRUE(heard_->WaitForNotice(Kind::kWarning));
  ASSERT_EQ(heard_->notices().size(), 1);
  EXPECT_EQ(heard_->notices()[0].text,
            absl::StrCat("everybody may read the key \"", In("tls.key"),
                         "\"; give it the mode 0600."));
}

TEST_F(FileSourceTest, OnlyATrustBundleIsAnIdentityToo) {
  Put("ca.crt", root_.pem());
  IdentityPaths files;
  files.bundles[""] = In("ca.crt");
  const auto source = FileSource::Make(files);
  ASSERT_TRUE(source.ok()) << source.status();
  (*source)->Subscribe(heard_);
  EXPECT_EQ(heard_->identities().size(), 1);
}

TEST_F(FileSourceTest, AServicesOwnFilesAreAnIdentity) {
  PutAll("", first_);
  options::TlsOptions tls;
  tls.cert_file = In("tls.crt");
  tls.key_file = In("tls.key");
  // The system's authorities.
  EXPECT_TRUE(FilesOf(tls).bundles.empty());
  Start(FilesOf(tls));
  EXPECT_EQ(heard_->identities()[0]->trust().AllPem(), "");

  tls.ca_file = In("ca.crt");
  tls.peer = {"dns:cart", "spiffe://prod/cart", "spiffe://test/*"};
  Start(FilesOf(tls));
  const Trust& trust = heard_->identities()[1]->trust();
  EXPECT_EQ(trust.AllPem(), root_.pem());
  EXPECT_NE(trust.ForDnsNames(), nullptr);
  EXPECT_EQ(trust.ForDomain("test"), nullptr);
  const IdentityPaths files = FilesOf(tls);
  tls.peer = {"spiffe://other/cart"};
  EXPECT_TRUE(FilesOf(tls) == files) << "the peers make no other source";
}

TEST_F(FileSourceTest, NoFileAtAllIsAnIdentityToo) {
  const auto source = FileSource::Make(FilesOf(options::TlsOptions()));
  ASSERT_TRUE(source.ok()) << source.status();
  (*source)->Subscribe(heard_);
  ASSERT_EQ(heard_->identities().size(), 1);
  EXPECT_EQ(heard_->identities()[0]->serial(), "");
}

TEST_F(FileSourceTest, AtStartWhatIsBadIsAnError) {
  EXPECT_THAT(FileSource::Make(Files()).status().message(),
              testing::HasSubstr("tls.crt\" could not be read"));
  PutAll("", first_);
  Put("tls.key", Next().key);
  EXPECT_EQ(FileSource::Make(Files()).status().message(),
            absl::StrCat("the files \"", In("tls.crt"), "\", \"", In("tls.key"),
                         "\", \"", In("ca.crt"),
                         "\" are no identity: key: it is not that of the "
                         "chain's first certificate."));
  std::filesystem::remove(In("tls.key"));
  ASSERT_EQ(mkfifo(In("tls.key").c_str(), 0600), 0);
  EXPECT_THAT(FileSource::Make(Files()).status().message(),
              testing::HasSubstr("it is not a regular file"));
  PutAll("", SvidOf(root_, now_ + kHour, now_ + 2 * kHour));
  EXPECT_TRUE(absl::IsFailedPrecondition(FileSource::Make(Files()).status()));
}

TEST_F(FileSourceTest, TheClockOfDatesComesFromOutside) {
  PutAll("", first_);
  // The source's thread may ask once more when the source is gone.
  const auto seconds =
      std::make_shared<std::atomic<int64_t>>(absl::ToUnixSeconds(now_));
  auto made = FileSource::Make(
      Files(), nullptr, [seconds] { return absl::FromUnixSeconds(*seconds); });
  ASSERT_TRUE(made.ok());
  (*made)->Subscribe(heard_);
  const certs::Issued next = SvidOf(root_, now_ + kHour, now_ + 2 * kHour);
  PutAll("", next);
  EXPECT_TRUE(heard_->WaitForNotice(Kind::kNotYetValid));
  *seconds = absl::ToUnixSeconds(now_ + kHour);
  EXPECT_TRUE(heard_->WaitForSerial(next.serial));
}

TEST_F(FileSourceTest, SourcesMayShareALoop) {
  PutAll("", first_);
  const auto loop = std::make_shared<base::EventLoop>("files-test");
  auto one = FileSource::Make(Files(), loop);
  auto other = FileSource::Make(Files(), loop);
  ASSERT_TRUE(one.ok() && other.ok());
  const auto heard = std::make_shared<Heard>();
  (*one)->Subscribe(heard_);
  (*other)->Subscribe(heard);
  one->reset();
  const certs::Issued next = Next();
  PutAll("", next);
  EXPECT_TRUE(heard->WaitForSerial(next.serial));
  loop->Stop();
  other->reset();  // After its loop.
}

}  // namespace
}  // namespace mesh::security
