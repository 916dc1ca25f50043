#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/config/loader_test_util.h"

namespace mesh::config {
namespace {

class LoaderFileTest : public testing::Test {
 protected:
  LoaderFileTest() {
    dir_ = testing::TempDir() + "/loader_XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    path_ = dir_ + "/mesh.yaml";
  }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name) << text;
  }

  std::string dir_;
  std::string path_;
};

TEST_F(LoaderFileTest, SaysThatAFileIsMissing) {
  const absl::Status status = LoadFile(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            absl::StrCat("the file \"", path_,
                         "\" could not be read: No such file or directory."));
}

TEST_F(LoaderFileTest, SaysThatAFileIsADirectory) {
  EXPECT_EQ(LoadFile(dir_).status().message(),
            absl::StrCat("the file \"", dir_,
                         "\" could not be read: it is a directory."));
}

TEST_F(LoaderFileTest, DoesNotWaitForTheWriterOfAPipe) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(LoadFile(path_).status().message(),
            absl::StrCat("the file \"", path_,
                         "\" could not be read: it is not a regular file."));
}

TEST_F(LoaderFileTest, SaysThatAFileMayNotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  Write("mesh.yaml", "services: {}");
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  EXPECT_EQ(LoadFile(path_).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(LoaderFileTest, RefusesAFileOfMoreThan16MiB) {
  Write("mesh.yaml", std::string((16 << 20) + 1, '#'));
  EXPECT_EQ(LoadFile(path_).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(
      LoadFile(path_).status().message(),
      absl::StrCat("the file \"", path_,
                   "\" could not be read: it has more than 16777216 bytes."));
  Write("mesh.yaml", "services: {}\n#" + std::string((16 << 20) - 14, '#'));
  EXPECT_TRUE(LoadFile(path_).ok());
}

TEST_F(LoaderFileTest, RefusesALoopOfLinks) {
  ASSERT_EQ(symlink(path_.c_str(), path_.c_str()), 0);
  EXPECT_EQ(LoadFile(path_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoaderFileTest, ReadsFilesRelativeToTheOneThatNamesThem) {
  Write("service.json", R"({"methodConfig": [
    {"name": [{}], "timeout": "2.5s"}]})");
  Write("ca.pem", "");
  Write("mesh.yaml", R"(
services:
  cart:
    endpoints: []
    tls: {ca_file: ca.pem}
    grpc_service_config: {path: service.json}
)");
  std::vector<base::FileState> files;
  const options::ServiceOptions service = OnlyService(LoadFile(path_, &files));
  EXPECT_EQ(service.tls->ca_file, dir_ + "/ca.pem");
  EXPECT_EQ(service.policy.timeout, absl::Milliseconds(2500));
  // Others watch the files of an identity.
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].path, path_);
  EXPECT_EQ(files[1].path, dir_ + "/service.json");
}

TEST_F(LoaderFileTest, AFileOfAnIdentityThatIsMissingIsAWarning) {
  Write("mesh.yaml", R"(
identity: {files: {ca: no.pem}}
services:
  cart:
    endpoints: []
    tls: {ca_file: /no/such/file}
)");
  const auto options = LoadFile(path_);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(
      options->warnings,
      testing::UnorderedElementsAre(
          absl::StrCat(path_, ":2:24: identity.files.ca: the file \"", dir_,
                       "/no.pem\" could not be read: No such file or "
                       "directory."),
          absl::StrCat(path_,
                       ":6:20: services.cart.tls.ca_file: the file "
                       "\"/no/such/file\" could not be read: No such file or "
                       "directory.")));
}

TEST_F(LoaderFileTest, ReportsWhatIsWrongInAServiceConfigWithItsOwnPlaces) {
  Write("service.json", R"({
  "methodConfig": [
    {"name": [{"method": "C"}, 5, {"service": "a.B"}, {"service": "a.B"}],
     "timeout": "5m",
     "waitForReady": 1,
     "retryPolicy": {
       "maxAttempts": 1,
       "initialBackoff": "0s",
       "maxBackoff": 1,
       "retryableStatusCodes": ["UNAVAILABL", 17, true, "OK", 1]
     }}]
})");
  Write("mesh.yaml",
        "services: {cart: {grpc_service_config: {path: service.json}}}");
  const std::string json = dir_ + "/service.json";
  EXPECT_EQ(
      LoadFile(path_).status().message(),
      absl::StrReplaceAll(
          "MESH:1:18: services.cart must have one of endpoints, endpoints_file "
          "and dns.\n"
          "JSON:3:15: methodConfig[0].name[0] has a method but no service.\n"
          "JSON:3:32: methodConfig[0].name[1] must be a map, but is 5.\n"
          "JSON:3:55: methodConfig[0].name[3] is a name that another "
          "methodConfig has.\n"
          "JSON:4:17: methodConfig[0].timeout must be seconds such as "
          "\"1.5s\", but is the string \"5m\".\n"
          "JSON:5:22: methodConfig[0].waitForReady must be true or false, but "
          "is "
          "1.\n"
          "JSON:6:21: methodConfig[0].retryPolicy.backoffMultiplier is "
          "missing.\n"
          "JSON:7:23: methodConfig[0].retryPolicy.maxAttempts must be at least "
          "2, but is 1.\n"
          "JSON:8:26: methodConfig[0].retryPolicy.initialBackoff must be more "
          "than 0s, but is 0s.\n"
          "JSON:9:22: methodConfig[0].retryPolicy.maxBackoff must be a string, "
          "but is 1.\n"
          "JSON:10:33: methodConfig[0].retryPolicy.retryableStatusCodes[0] "
          "must be a status code, but is the string \"UNAVAILABL\"; did you "
          "mean "
          "\"UNAVAILABLE\"?\n"
          "JSON:10:47: methodConfig[0].retryPolicy.retryableStatusCodes[1] "
          "must be a status code, but is 17.\n"
          "JSON:10:51: methodConfig[0].retryPolicy.retryableStatusCodes[2] "
          "must be a status code, but is true.\n"
          "JSON:10:57: methodConfig[0].retryPolicy.retryableStatusCodes[3] "
          "must be the code of a failure, but is \"OK\".\n"
          "JSON:10:63: methodConfig[0].retryPolicy.retryableStatusCodes[4] "
          "must be the code of a failure, but is \"CANCELLED\".",
          {{"MESH", path_}, {"JSON", json}}));
}

}  // namespace
}  // namespace mesh::config
