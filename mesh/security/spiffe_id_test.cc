#include "mesh/security/spiffe_id.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::security {
namespace {

using ::testing::HasSubstr;

std::string Why(absl::string_view text) {
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse(text);
  if (id.ok()) return "good";
  EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(id.status().message());
}

TEST(SpiffeIdTest, HasATrustDomainAndAPath) {
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse("spiffe://prod/shop/a-1");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->text(), "spiffe://prod/shop/a-1");
  EXPECT_EQ(id->trust_domain(), "prod");
  EXPECT_EQ(id->path(), "/shop/a-1");
}

TEST(SpiffeIdTest, MayNameATrustDomainAlone) {
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse("spiffe://a.b_c-9");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->trust_domain(), "a.b_c-9");
  EXPECT_EQ(id->path(), "");
}

TEST(SpiffeIdTest, KeepsItsPartsWhenItIsMoved) {
  SpiffeId moved = *SpiffeId::Parse("spiffe://p/c");
  const SpiffeId id = std::move(moved);
  EXPECT_EQ(id.trust_domain(), "p");
  EXPECT_EQ(id.path(), "/c");
}

TEST(SpiffeIdTest, HasItsSchemeInLowerCase) {
  for (const char* text :
       {"", "spiffe", "spiffe:/prod/cart", "SPIFFE://prod/cart",
        "Spiffe://prod/cart", "https://prod/cart", " spiffe://prod/cart"}) {
    EXPECT_THAT(Why(text), HasSubstr("does not begin with")) << text;
  }
}

TEST(SpiffeIdTest, HasATrustDomainOfFewBytes) {
  EXPECT_THAT(Why("spiffe://"), HasSubstr("trust domain is empty"));
  EXPECT_THAT(Why("spiffe:///cart"), HasSubstr("trust domain is empty"));
  for (const char* text :
       {"spiffe://Prod/cart", "spiffe://prod:443/cart", "spiffe://u@prod/cart",
        "spiffe://pr%6fd/cart", "spiffe://prod?x=/cart", "spiffe://prod#/cart",
        "spiffe://[::1]/cart", "spiffe://pr\xc3\xb6/cart", "spiffe://prod /c",
        "spiffe://*/cart"}) {
    EXPECT_THAT(Why(text), HasSubstr("trust domain may have only")) << text;
  }
}

TEST(SpiffeIdTest, HasAPathOfWholeSegments) {
  for (const char* text : {"spiffe://prod/", "spiffe://prod//cart",
                           "spiffe://prod/cart/", "spiffe://prod/a//b"}) {
    EXPECT_THAT(Why(text), HasSubstr("empty segment")) << text;
  }
  for (const char* text :
       {"spiffe://prod/.", "spiffe://prod/..", "spiffe://prod/cart/../admin",
        "spiffe://prod/./cart", "spiffe://prod/cart/.."}) {
    EXPECT_THAT(Why(text), HasSubstr("\".\" or \"..\"")) << text;
  }
  EXPECT_EQ(Why("spiffe://prod/..."), "good");
  EXPECT_EQ(Why("spiffe://prod/.cart/c..t/Cart_-"), "good");
}

TEST(SpiffeIdTest, HasAPathOfFewBytes) {
  for (const char* text :
       {"spiffe://prod/c%61rt", "spiffe://prod/cart?x", "spiffe://prod/cart#x",
        "spiffe://prod/c:rt", "spiffe://prod/c art", "spiffe://prod/c\\art",
        "spiffe://prod/k\xc3\xb6rb", "spiffe://prod/*",
        "spiffe://prod/c;v=1"}) {
    EXPECT_THAT(Why(text), HasSubstr("path may have only")) << text;
  }
}

TEST(SpiffeIdTest, DoesNotEndAtANul) {
  const std::string nul("spiffe://prod/cart\0.evil", 24);
  EXPECT_THAT(Why(nul), HasSubstr("path may have only"));
  EXPECT_THAT(Why(nul), HasSubstr("cart\\x00.evil"));
  EXPECT_THAT(Why(std::string("spiffe://prod\0/cart", 19)),
              HasSubstr("trust domain may have only"));
  EXPECT_EQ(Why("spiffe://prod/cart.evil"), "good");
}

TEST(SpiffeIdTest, HasBounds) {
  const std::string start = "spiffe://prod/";
  EXPECT_EQ(Why(start + std::string(2048 - start.size(), 'a')), "good");
  EXPECT_THAT(Why(start + std::string(2049 - start.size(), 'a')),
              HasSubstr("it has 2049 bytes"));
  EXPECT_EQ(Why("spiffe://" + std::string(255, 'a') + "/c"), "good");
  EXPECT_THAT(Why("spiffe://" + std::string(256, 'a') + "/c"),
              HasSubstr("trust domain has 256 bytes"));
}

TEST(SpiffeIdTest, ALongTextIsCutInTheMessage) {
  EXPECT_LT(Why("spiffe://prod/" + std::string(5000, '\n')).size(), 700u);
}

}  // namespace
}  // namespace mesh::security
