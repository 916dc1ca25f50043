#include "mesh/base/utf8.h"

#include "gtest/gtest.h"

namespace mesh::base {
namespace {

TEST(Utf8Test, KnowsWhereASequenceEnds) {
  EXPECT_EQ(Utf8Length("ab"), 1);
  EXPECT_EQ(Utf8Length("\xc3\xa4x"), 2);
  EXPECT_EQ(Utf8Length("\xe2\x82\xac"), 3);
  EXPECT_EQ(Utf8Length("\xf0\x9f\x98\x80"), 4);
}

TEST(Utf8Test, RefusesWhatRfc3629Does) {
  EXPECT_EQ(Utf8Length(""), 0);
  EXPECT_EQ(Utf8Length("\x80"), 0) << "a tail";
  EXPECT_EQ(Utf8Length("\xc3"), 0) << "cut";
  EXPECT_EQ(Utf8Length("\xe2\x82"), 0) << "cut";
  EXPECT_EQ(Utf8Length("\xc1\xbf"), 0) << "overlong";
  EXPECT_EQ(Utf8Length("\xe0\x9f\xbf"), 0) << "overlong";
  EXPECT_EQ(Utf8Length("\xf0\x8f\xbf\xbf"), 0) << "overlong";
  EXPECT_EQ(Utf8Length("\xed\xa0\x80"), 0) << "a surrogate";
  EXPECT_EQ(Utf8Length("\xf4\x90\x80\x80"), 0) << "above U+10FFFF";
}

TEST(Utf8Test, AWholeTextIsOrIsNot) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("caf\xc3\xa9"));
  EXPECT_FALSE(IsUtf8("caf\xc3"));
}

}  // namespace
}  // namespace mesh::base
