#include "mesh/discovery/dns_lookup.h"

#include <future>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/discovery/dns_test_server.h"
#include "mesh/discovery/resolver_test_util.h"

namespace mesh::discovery {
namespace {

using Strings = std::vector<std::string>;

TEST(ValidateDnsNameTest, TakesNamesAndRefusesWhatNoServerCouldBeAsked) {
  EXPECT_TRUE(ValidateDnsName("cart").ok());
  EXPECT_TRUE(ValidateDnsName("cart.prod.").ok());
  EXPECT_TRUE(ValidateDnsName("_grpc._tcp.cart").ok());
  EXPECT_TRUE(ValidateDnsName(std::string(63, 'a')).ok());
  EXPECT_FALSE(ValidateDnsName(std::string(64, 'a')).ok());
  EXPECT_FALSE(ValidateDnsName("").ok());
  EXPECT_FALSE(ValidateDnsName(".").ok());
  EXPECT_FALSE(ValidateDnsName("a..b").ok());
  EXPECT_FALSE(ValidateDnsName(".a").ok());
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "a.";
  EXPECT_TRUE(ValidateDnsName(longest).ok()) << "253 and the last dot";
  EXPECT_FALSE(ValidateDnsName(longest + "b").ok());
}

TEST(SearchNamesTest, FollowsResolvConf) {
  EXPECT_EQ(SearchNames("cart", 1, {}), Strings({"cart"}));
  EXPECT_EQ(SearchNames("cart", 1, {"a.b", "b"}),
            Strings({"cart.a.b", "cart.b", "cart"}));
  EXPECT_EQ(SearchNames("cart.prod", 1, {"b"}),
            Strings({"cart.prod", "cart.prod.b"}));
  EXPECT_EQ(SearchNames("cart.prod", 5, {"svc.local", "local"}),
            Strings({"cart.prod.svc.local", "cart.prod.local", "cart.prod"}));
  EXPECT_EQ(SearchNames("cart.prod.", 5, {"b"}), Strings({"cart.prod."}));
  EXPECT_EQ(SearchNames("cart", 1, {std::string(250, 'a')}), Strings({"cart"}));
}

TEST(LocalAnswerTest, AnAddressStandsForItself) {
  EXPECT_EQ(LocalAnswer("10.0.0.1", "")->a.addresses, Strings({"10.0.0.1"}));
  EXPECT_EQ(LocalAnswer("fd00::1", "")->aaaa.addresses, Strings({"fd00::1"}));
  EXPECT_EQ(LocalAnswer("[fd00:0::1]", "")->aaaa.addresses,
            Strings({"fd00::1"}));
  EXPECT_EQ(LocalAnswer("10.0.0.1", "10.0.0.2 10.0.0.1\n")->a.addresses,
            Strings({"10.0.0.1"}));
  EXPECT_EQ(LocalAnswer("10.0.0", ""), std::nullopt);
  EXPECT_EQ(LocalAnswer("", ""), std::nullopt);
}

TEST(LocalAnswerTest, AHostsFileIsReadWhole) {
  const std::string hosts =
      "127.0.0.1\tlocalhost\n"
      "# 10.9.9.9 cart\n"
      "10.0.0.2 other Cart.Prod cart  # the second\n"
      "10.0.0.1 cart cart\r\n"
      "fd00::1 cart\n"
      "not-an-address cart\n"
      "10.0.0.3\n"
      "10.0.0.4 cartography";
  const auto cart = LocalAnswer("CART", hosts);
  ASSERT_TRUE(cart.has_value());
  EXPECT_EQ(cart->a.addresses, Strings({"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(cart->aaaa.addresses, Strings({"fd00::1"}));
  EXPECT_LT(cart->a.ttl, absl::InfiniteDuration());
  EXPECT_EQ(LocalAnswer("cart.prod.", hosts)->a.addresses,
            Strings({"10.0.0.2"}));
  EXPECT_EQ(LocalAnswer("10.0.0.3x", hosts), std::nullopt);
  EXPECT_EQ(LocalAnswer("#", hosts), std::nullopt);
  EXPECT_EQ(LocalAnswer("localhost", hosts)->a.addresses,
            Strings({"127.0.0.1"}));
}

TEST(LocalAnswerTest, LocalhostIsThisMachineEvenWhenNobodySaysSo) {
  for (const char* name : {"localhost", "LocalHost.", "cart.localhost"}) {
    const auto answer = LocalAnswer(name, "");
    ASSERT_TRUE(answer.has_value()) << name;
    EXPECT_EQ(answer->a.addresses, Strings({"127.0.0.1"}));
    EXPECT_EQ(answer->aaaa.addresses, Strings({"::1"}));
  }
  EXPECT_EQ(LocalAnswer("mylocalhost", ""), std::nullopt);
}

// One lookup at `server`.
DnsAnswer Lookup(const std::string& server, const std::string& name) {
  base::EventLoop loop("test");
  std::unique_ptr<DnsLookup> lookup;
  std::promise<DnsAnswer> answer;
  RunOn(loop, [&] {
    lookup = std::make_unique<DnsLookup>(name, Strings{server}, &loop);
    lookup->Start([&](DnsAnswer got) {
      lookup.reset();
      answer.set_value(std::move(got));
    });
  });
  return answer.get_future().get();
}

TEST(DnsLookupTest, OddNamesFailAtOnce) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string("a..b"),
        std::string(64, 'a'), std::string(5000, 'a'),
        std::string("a\0b", 3) + std::string(80, 'c')}) {
    EXPECT_EQ(Lookup("127.0.0.1:1", name).status.code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(DnsLookupTest, ABadServerIsNamed) {
  const auto answer = Lookup("nonsense", "cart.mesh.test");
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(answer.status.message().find("nonsense"), absl::string_view::npos);
}

TEST(DnsLookupTest, TakesTheSmallestTtlAlsoOfTheAliasesOnTheWay) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeAaaa) return {q.Answer({})};
    return {q.Answer({{kTypeCname, 7, Name("real.mesh.test"), ""},
                      {kTypeA, 60, A("10.0.0.2"), "real.mesh.test"},
                      {kTypeA, 50, A("10.0.0.1"), "real.mesh.test"}})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.a.addresses, Strings({"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(answer.a.ttl, absl::Seconds(7));
  EXPECT_TRUE(answer.aaaa.status.ok());
  EXPECT_TRUE(answer.aaaa.addresses.empty());
}

TEST(DnsLookupTest, ATtlOfTwoToThe31AndMoreIsZero) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeAaaa) {
      return {q.Answer({{kTypeAaaa, 0xffffffff, Aaaa("fd00::1"), ""}})};
    }
    return {q.Answer({{kTypeA, 0x80000000, A("10.0.0.1"), ""}})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.a.ttl, absl::ZeroDuration());
  EXPECT_EQ(answer.aaaa.ttl, absl::ZeroDuration());
}

TEST(DnsLookupTest, TheUnspecifiedAddressIsNobodys) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeAaaa) {
      return {q.Answer({{kTypeAaaa, 9, Aaaa("::"), ""}})};
    }
    return {q.Answer({{kTypeA, 9, A("0.0.0.0"), ""}})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_TRUE(answer.a.addresses.empty());
  EXPECT_TRUE(answer.aaaa.addresses.empty());
}

TEST(DnsLookupTest, TakesEachAddressOnceAndByNumber) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeAaaa) return {q.Answer({})};
    std::vector<DnsRecord> records;
    for (int i = 0; i < 26; ++i) {
      records.push_back(
          {kTypeA, 9, A("10.0.0." + std::to_string(i * 7 % 23)), ""});
    }
    return {q.Answer(records)};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.a.addresses.size(), 23);
  EXPECT_EQ(answer.a.addresses[1], "10.0.0.1");
  EXPECT_EQ(answer.a.addresses[10], "10.0.0.10");
}

TEST(DnsLookupTest, APacketThatIsNotTheAnswerIsPassedOver) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    std::string other_id = q.Answer({{kTypeA, 9, A("6.6.6.6"), ""}});
    other_id[0] ^= 1;
    std::string other_question = q.Answer({{kTypeA, 9, A("6.6.6.6"), ""}});
    other_question[13] ^= 1;
    return {
        "",
        "x",
        std::string(11, '\0'),
        other_id,
        other_question,
        q.Answer(q.type == kTypeA
                     ? std::vector<DnsRecord>{{kTypeA, 9, A("10.0.0.1"), ""}}
                     : std::vector<DnsRecord>{})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.a.addresses, Strings({"10.0.0.1"}));
}

TEST(DnsLookupTest, ATruncatedAnswerWhoseServerHasNoTcpIsAFailure) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    return {q.Answer({{kTypeA, 9, A("10.0.0.1"), ""}}, 0, true)};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(answer.status.message().find(server.address()),
            absl::string_view::npos)
      << answer.status;
}

TEST(DnsLookupTest, ARecordOfTheWrongSizeIsAFailureOrNoRecord) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    return {q.Answer({{q.type, 9, "xyz", ""}})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  EXPECT_TRUE(answer.a.addresses.empty());
  EXPECT_TRUE(answer.aaaa.addresses.empty());
}

TEST(DnsLookupTest, OneTypeThatFailsLeavesTheOther) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    if (q.type == kTypeAaaa) return {q.Answer({}, 2)};
    return {q.Answer({{kTypeA, 9, A("10.0.0.1"), ""}})};
  });
  const auto answer = Lookup(server.address(), "cart.mesh.test");
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.a.addresses, Strings({"10.0.0.1"}));
  EXPECT_FALSE(answer.aaaa.status.ok());
}

TEST(DnsLookupTest, OneTypeThatFailsAndNoneOfTheOtherIsAFailure) {
  FakeDns server([](const DnsQuestion& q) -> Strings {
    return {q.Answer({}, q.type == kTypeAaaa ? 2 : 0)};
  });
  EXPECT_EQ(Lookup(server.address(), "cart.mesh.test").status.code(),
            absl::StatusCode::kUnavailable);
}

// Answers that a fault changed anywhere. Each is followed by a good one, for
// the case that it is passed over.
TEST(DnsLookupTest, SurvivesAnyChangedAnswer) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    base::Random random(seed);
    FakeDns server([&](const DnsQuestion& q) -> Strings {
      const std::string good =
          q.Answer({{kTypeCname, 5, Name("b.mesh.test"), ""},
                    {kTypeA, 5, A("10.0.0.1"), "b.mesh.test"},
                    {kTypeAaaa, 5, Aaaa("fd00::1"), "b.mesh.test"}});
      std::string bad = good;
      // Not the identifier, so that it is looked into.
      for (uint32_t n = 1 + random.Below(4); n > 0; --n) {
        bad[2 + random.Below(bad.size() - 2)] = static_cast<char>(random());
      }
      if (random.Below(3) == 0) bad.resize(2 + random.Below(bad.size()));
      bad[2] &= ~2;  // Not truncated: that asks for TCP.
      return {bad, good};
    });
    const auto answer = Lookup(server.address(), "a.mesh.test");
    EXPECT_LE(answer.a.addresses.size(), 2);
    EXPECT_LE(answer.aaaa.addresses.size(), 2);
  }
}

}  // namespace
}  // namespace mesh::discovery
