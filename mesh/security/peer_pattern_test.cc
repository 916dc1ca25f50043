#include "mesh/security/peer_pattern.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::security {
namespace {

using ::testing::HasSubstr;

Peer WithId(std::string id) {
  Peer peer;
  peer.spiffe_id = std::move(id);
  return peer;
}

Peer WithDns(std::vector<std::string> names) {
  Peer peer;
  peer.dns_names = std::move(names);
  return peer;
}

bool Match(absl::string_view pattern, const Peer& peer) {
  const absl::StatusOr<PeerPattern> parsed = PeerPattern::Parse(pattern);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() && parsed->Matches(peer);
}

std::string Why(absl::string_view text) {
  const absl::StatusOr<PeerPattern> pattern = PeerPattern::Parse(text);
  if (pattern.ok()) return "good";
  EXPECT_EQ(pattern.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(pattern.status().message());
}

TEST(PeerPatternTest, AnIdMatchesItselfOnly) {
  const char* const pattern = "spiffe://prod/cart";
  EXPECT_TRUE(Match(pattern, WithId("spiffe://prod/cart")));
  for (const char* id :
       {"spiffe://prod/Cart", "spiffe://prod/cart-evil", "spiffe://prod/car",
        "spiffe://prod/cart/a", "spiffe://test/cart", ""}) {
    EXPECT_FALSE(Match(pattern, WithId(id))) << id;
  }
  EXPECT_FALSE(Match(pattern, WithDns({"spiffe://prod/cart"})));
  EXPECT_FALSE(
      Match(pattern, WithId(std::string("spiffe://prod/cart\0.evil", 24))));
}

TEST(PeerPatternTest, NamesATrustDomain) {
  EXPECT_EQ(PeerPattern::Parse("spiffe://prod/cart")->trust_domain(), "prod");
  EXPECT_EQ(PeerPattern::Parse("spiffe://a.b/cart/*")->trust_domain(), "a.b");
  EXPECT_EQ(PeerPattern::Parse("spiffe://prod/*")->trust_domain(), "prod");
  EXPECT_EQ(PeerPattern::Parse("dns:cart.prod")->trust_domain(), "");
}

TEST(PeerPatternTest, AStarMatchesWholeSegments) {
  const char* const pattern = "spiffe://prod/cart/*";
  EXPECT_TRUE(Match(pattern, WithId("spiffe://prod/cart/a")));
  EXPECT_TRUE(Match(pattern, WithId("spiffe://prod/cart/a/b")));
  for (const char* id :
       {"spiffe://prod/cart", "spiffe://prod/cart-evil", "spiffe://prod/cart/",
        "spiffe://prod/cartx/a", "spiffe://prod/shop/cart/a"}) {
    EXPECT_FALSE(Match(pattern, WithId(id))) << id;
  }
  EXPECT_TRUE(Match("spiffe://prod/*", WithId("spiffe://prod/cart")));
  EXPECT_FALSE(Match("spiffe://prod/*", WithId("spiffe://prod.evil/cart")));
}

TEST(PeerPatternTest, ADnsNameMatchesWithoutCaseAndWithoutWildcards) {
  const char* const pattern = "dns:cart.prod";
  EXPECT_TRUE(Match(pattern, WithDns({"cart.prod"})));
  EXPECT_TRUE(Match(pattern, WithDns({"other", "Cart.PROD"})));
  for (const char* name : {"*.prod", "*", "c*.prod", "cart.prod.",
                           "cart.prod.evil", "acart.prod", "art.prod", ""}) {
    EXPECT_FALSE(Match(pattern, WithDns({name}))) << name;
  }
  EXPECT_FALSE(Match(pattern, WithDns({std::string("cart.prod\0.evil", 15)})));
  EXPECT_FALSE(Match(pattern, WithId("cart.prod")));
  EXPECT_TRUE(Match("dns:CART.prod", WithDns({"cart.prod"})));
}

TEST(PeerPatternTest, APeerWithoutTlsMatchesNothing) {
  Peer peer = WithId("spiffe://prod/cart");
  peer.dns_names = {"cart.prod"};
  EXPECT_TRUE(Match("spiffe://prod/cart", peer));
  peer.plaintext = true;
  EXPECT_FALSE(Match("spiffe://prod/cart", peer));
  EXPECT_FALSE(Match("spiffe://prod/*", peer));
  EXPECT_FALSE(Match("dns:cart.prod", peer));
}

TEST(PeerPatternTest, WhatIsNoPatternHasAReason) {
  EXPECT_THAT(Why(""), HasSubstr("write \"spiffe://domain/path\""));
  EXPECT_THAT(Why("cart"), HasSubstr("write \"spiffe://domain/path\""));
  EXPECT_THAT(Why("SPIFFE://prod/cart"), HasSubstr("write \"spiffe://"));
  EXPECT_THAT(Why("DNS:cart"), HasSubstr("write \"spiffe://domain/path\""));
  EXPECT_THAT(Why("spiffe://prod"), HasSubstr("has no path"));
  EXPECT_THAT(Why("spiffe://prod/"), HasSubstr("empty segment"));
  EXPECT_THAT(Why("spiffe://prod/a/../b"), HasSubstr("\"..\""));
  EXPECT_THAT(Why("spiffe:///*"), HasSubstr("trust domain is empty"));
  for (const char* text :
       {"spiffe://prod/*/cart", "spiffe://prod/c*", "spiffe://*/cart",
        "spiffe://prod/*/*", "spiffe://prod/**"}) {
    EXPECT_THAT(Why(text), HasSubstr("only at the end")) << text;
  }
  EXPECT_EQ(Why("spiffe://prod/*"), "good");
}

TEST(PeerPatternTest, ADnsPatternIsOneWholeName) {
  EXPECT_EQ(Why("dns:a"), "good");
  EXPECT_EQ(Why("dns:xn--krb-1qa.prod"), "good");
  EXPECT_THAT(Why("dns:*.prod"), HasSubstr("a wildcard"));
  EXPECT_THAT(Why("dns:10.0.0.7"), HasSubstr("IP address"));
  for (const char* text :
       {"dns:", "dns:.prod", "dns:cart.", "dns:a..b", "dns:-a.b", "dns:a-.b",
        "dns:a b", "dns:a:443", "dns:a/b", "dns:k\xc3\xb6rb", "dns:::1"}) {
    EXPECT_THAT(Why(text), HasSubstr("is no DNS name")) << text;
  }
  EXPECT_EQ(Why("dns:" + std::string(63, 'a')), "good");
  EXPECT_THAT(Why("dns:" + std::string(64, 'a')), HasSubstr("no DNS name"));
  std::string longest = "a";
  while (longest.size() < 253) longest += ".a";
  EXPECT_EQ(Why("dns:" + longest), "good");
  EXPECT_THAT(Why("dns:" + longest + ".a"), HasSubstr("more than 253"));
}

TEST(PeerPatternTest, AListMatchesWhatOneOfItMatches) {
  const absl::StatusOr<std::vector<PeerPattern>> patterns =
      ParsePeerPatterns({"spiffe://prod/cart", "dns:pay.prod"});
  ASSERT_TRUE(patterns.ok()) << patterns.status();
  EXPECT_TRUE(AnyMatches(*patterns, WithId("spiffe://prod/cart")));
  EXPECT_TRUE(AnyMatches(*patterns, WithDns({"pay.prod"})));
  EXPECT_FALSE(AnyMatches(*patterns, WithId("spiffe://prod/pay")));
  EXPECT_FALSE(AnyMatches({}, WithId("spiffe://prod/cart")));
  EXPECT_THAT(ParsePeerPatterns({"dns:a", "dns:b/"}).status().message(),
              HasSubstr("\"dns:b/\""));
}

}  // namespace
}  // namespace mesh::security
