#include "mesh/security/pem.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::security {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Why(absl::string_view text, size_t most = 10) {
  return std::string(PemBlocks(text, "X", most).status().message());
}

TEST(PemTest, GivesTheBlocksOfOneLabel) {
  const std::string text =
      "# words\n"
      "-----BEGIN X-----\nYWJj\nZGVm\n-----END X-----\n"
      "more words - and -- dashes\n"
      "-----BEGIN Y-----\nno: base64\n\n+++\n-----END Y-----\n"
      "-----BEGIN X-----\r\n Zw== \r\n-----END X-----  ";
  EXPECT_THAT(*PemBlocks(text, "X", 10), ElementsAre("abcdef", "g"));
  EXPECT_THAT(*PemBlocks(text, "Z", 10), IsEmpty());
  EXPECT_THAT(*PemBlocks("", "X", 10), IsEmpty());
}

TEST(PemTest, LosesNoBlockWithoutAWord) {
  EXPECT_EQ(Why("-----BEGIN X-----\nYQ==\n-----END X-----\n"), "");
  EXPECT_THAT(Why("-----BEGIN X-----\nYQ==\n"), HasSubstr("cut off"));
  EXPECT_THAT(Why("-----BEGIN X-----\nYQ==\n-----END X---"),
              HasSubstr("line 3 of its PEM text does not end"));
  EXPECT_THAT(Why("-----BEGIN X-----\nYQ==\n-----END Y-----"),
              HasSubstr("does not end"));
  EXPECT_THAT(Why("-----BEGIN X-----\n-----BEGIN X-----\n"),
              HasSubstr("does not end"));
  EXPECT_THAT(Why("-----BEGIN X-----\nYQ==\n-----END X-----\n-----BEGI"),
              HasSubstr("line 4 of its PEM text begins no block"));
  EXPECT_THAT(Why("-----END X-----\n"), HasSubstr("begins no block"));
  EXPECT_THAT(Why("-----BEGIN -----\n"), HasSubstr("begins no block"));
  EXPECT_THAT(Why("-----BEGIN X-----YQ==-----END X-----"),
              HasSubstr("begins no block"));
  EXPECT_THAT(Why("----BEGIN X-----\nYQ==\n-----END X-----"),
              HasSubstr("begins no block"));
}

TEST(PemTest, WantsBase64) {
  EXPECT_THAT(Why("-----BEGIN X-----\nY*==\n-----END X-----\n"),
              HasSubstr("no base64"));
  EXPECT_THAT(Why("-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nYQ==\n"
                  "-----END X-----\n"),
              HasSubstr("no base64"));
}

TEST(PemTest, HasABound) {
  const std::string one = "-----BEGIN X-----\nYQ==\n-----END X-----\n";
  EXPECT_EQ(Why(one + one, 2), "");
  const auto blocks = PemBlocks(one + one + one, "X", 2);
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Why(one + one + one, 2), HasSubstr("more than 2"));
}

}  // namespace
}  // namespace mesh::security
