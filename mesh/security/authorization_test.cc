#include "mesh/security/authorization.h"

#include <cstdlib>
#include <new>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/options/security.h"
#include "mesh/security/authorization_test_util.h"
#include "mesh/security/peer.h"

namespace {

// Allocations of this thread, to show that a decision makes none.
thread_local int allocations = 0;

}  // namespace

__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  std::abort();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
  std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace mesh::security {

void PrintTo(const Decision& d, std::ostream* os) {
  *os << (d.allowed ? "allowed" : "refused") << (d.observed ? " observed" : "")
      << " list " << static_cast<int>(d.list) << " rule " << d.rule
      << " reason " << static_cast<int>(d.reason);
}

namespace {

using options::HeaderMatch;
using options::Rule;
using options::ServerMode;
using options::ServerOptions;
using Kind = HeaderMatch::Kind;

constexpr char kPath[] = "/shop.Cart/Get";

Peer Named(const std::string& id) { return {false, id, {}}; }
Peer Plaintext() { return {true, "", {}}; }

Rule From(std::vector<std::string> from) { return {std::move(from), {}, {}}; }
Rule Methods(std::vector<std::string> methods) {
  return {{}, std::move(methods), {}};
}
Rule WithHeader(const std::string& name, Kind kind,
                const std::string& value = "") {
  return {{}, {}, {{name, kind, value}}};
}

ServerOptions Deny(std::vector<Rule> rules) {
  ServerOptions options;
  options.deny = std::move(rules);
  return options;
}
ServerOptions Allow(std::vector<Rule> rules) {
  ServerOptions options;
  options.allow = std::move(rules);
  return options;
}
ServerOptions Permissive(ServerOptions options) {
  options.mode = ServerMode::kPermissive;
  return options;
}
ServerOptions Observing(ServerOptions options) {
  options.rules = options::Mode::kObserve;
  return options;
}

Decision Decide(const ServerOptions& options, const Peer& peer,
                absl::string_view path = kPath,
                const std::vector<Header>& headers = {}) {
  const auto rules = Authorization::Make(options);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return rules.ok() ? (*rules)->Decide(peer, path, headers) : Decision();
}

const Decision kByDeny = {false, false, RuleList::kDeny, 0, Reason::kDenied};
const Decision kByAllow = {true, false, RuleList::kAllow, 0, Reason::kAllowed};
const Decision kNoAllow = {true, false, RuleList::kNone, -1, Reason::kNoAllow};
const Decision kNotAllowed = {false, false, RuleList::kNone, -1,
                              Reason::kNotAllowed};
const Decision kBadPath = {false, false, RuleList::kNone, -1, Reason::kBadPath};

// ---- Lists ----

TEST(AuthorizationTest, WithoutRulesAdmitsEachCallWhateverItsPath) {
  const Decision none = {true, false, RuleList::kNone, -1, Reason::kNoRules};
  EXPECT_EQ(Decide({}, Named("spiffe://prod/a")), none);
  EXPECT_EQ(Decide({}, Named("spiffe://prod/a"), "no path"), none);
  EXPECT_EQ(Decide(Permissive({}), Plaintext()), none);
}

TEST(AuthorizationTest, AStrictServerRefusesPlaintextWithoutARule) {
  const Decision refused = {false, false, RuleList::kNone, -1,
                            Reason::kPlaintext};
  EXPECT_EQ(Decide({}, Plaintext()), refused);
  EXPECT_EQ(Decide(Observing({}), Plaintext()), refused)
      << "that is no matter of rules";
}

TEST(AuthorizationTest, AnEmptyAllowAdmitsEveryVerifiedPeerThatNoneDenies) {
  const ServerOptions options = Deny({From({"spiffe://prod/evil"})});
  EXPECT_EQ(Decide(options, Named("spiffe://prod/evil")), kByDeny);
  EXPECT_EQ(Decide(options, Named("spiffe://prod/shop")), kNoAllow);
  EXPECT_EQ(Decide(options, {false, "", {"cart.prod"}}), kNoAllow);
}

TEST(AuthorizationTest, AllowAdmitsOnlyWhatItNames) {
  const ServerOptions options = Allow({From({"spiffe://prod/shop"})});
  EXPECT_EQ(Decide(options, Named("spiffe://prod/shop")), kByAllow);
  EXPECT_EQ(Decide(options, Named("spiffe://prod/cart")), kNotAllowed);
  EXPECT_EQ(Decide(options, Peer()), kNotAllowed) << "a peer without a name";
}

TEST(AuthorizationTest, DenyComesBeforeAllow) {
  ServerOptions options = Allow({From({"spiffe://prod/*"})});
  options.deny = {{{"spiffe://prod/shop"}, {"shop.Cart/Delete"}, {}}};
  const Peer shop = Named("spiffe://prod/shop");
  EXPECT_EQ(Decide(options, shop, "/shop.Cart/Delete"), kByDeny);
  EXPECT_EQ(Decide(options, shop, "/shop.Cart/Get"), kByAllow);
  EXPECT_EQ(Decide(options, Named("spiffe://prod/a"), "/shop.Cart/Delete"),
            kByAllow);
}

TEST(AuthorizationTest, TheFirstRuleThatMatchesIsNamed) {
  const Decision third = {true, false, RuleList::kAllow, 2, Reason::kAllowed};
  EXPECT_EQ(
      Decide(Allow({From({"spiffe://prod/a"}), Methods({"shop.Cart/Delete"}),
                    Methods({"shop.Cart/*"}), From({"spiffe://prod/b"})}),
             Named("spiffe://prod/b")),
      third);
}

TEST(AuthorizationTest, EveryPartOfARuleMustMatch) {
  const ServerOptions options =
      Allow({{{"spiffe://prod/shop"},
              {"shop.Cart/Get"},
              {{"x-a", Kind::kExact, "1"}, {"x-b", Kind::kPresent, ""}}}});
  const Peer shop = Named("spiffe://prod/shop");
  const std::vector<Header> good = {{"x-a", "1"}, {"x-b", ""}};
  EXPECT_EQ(Decide(options, shop, kPath, good), kByAllow);
  EXPECT_EQ(Decide(options, Named("spiffe://prod/a"), kPath, good),
            kNotAllowed);
  EXPECT_EQ(Decide(options, shop, "/shop.Cart/Put", good), kNotAllowed);
  EXPECT_EQ(Decide(options, shop, kPath, {{"x-a", "1"}}), kNotAllowed);
  EXPECT_EQ(Decide(options, shop, kPath, {{"x-b", ""}}), kNotAllowed);
}

// ---- Observing, and the way to strict ----

TEST(AuthorizationTest, ObservingOnlyCounts) {
  Decision expected = kByDeny;
  expected.allowed = expected.observed = true;
  EXPECT_EQ(Decide(Observing(Deny({From({"spiffe://prod/a"})})),
                   Named("spiffe://prod/a")),
            expected);
  expected = kNotAllowed;
  expected.allowed = expected.observed = true;
  EXPECT_EQ(Decide(Observing(Allow({From({"spiffe://prod/a"})})),
                   Named("spiffe://prod/b")),
            expected);
  expected = kBadPath;
  expected.allowed = expected.observed = true;
  EXPECT_EQ(Decide(Observing(Allow({From({"spiffe://prod/a"})})),
                   Named("spiffe://prod/a"), "/a"),
            expected);
  EXPECT_EQ(Decide(Observing(Allow({From({"spiffe://prod/a"})})),
                   Named("spiffe://prod/a")),
            kByAllow);
}

TEST(AuthorizationTest, APermissiveServerHoldsPlaintextToDeny) {
  const ServerOptions options = Permissive(Deny({Methods({"shop.Cart/Get"})}));
  EXPECT_EQ(Decide(options, Plaintext()), kByDeny);
  EXPECT_EQ(Decide(options, Plaintext(), "/shop.Cart/Put"), kNoAllow);
  EXPECT_EQ(Decide(options, Plaintext(), "/shop.Cart/Get/"), kBadPath);
}

TEST(AuthorizationTest, ForPlaintextAtAPermissiveServerAllowOnlyCounts) {
  const ServerOptions options =
      Permissive(Allow({From({"spiffe://prod/shop"})}));
  Decision counted = kNotAllowed;
  counted.allowed = counted.observed = true;
  EXPECT_EQ(Decide(options, Plaintext()), counted);
  EXPECT_EQ(Decide(options, Named("spiffe://prod/a")), kNotAllowed)
      << "that is for plaintext only";
  EXPECT_EQ(Decide(options, Plaintext(), "/a"), kBadPath);
}

TEST(AuthorizationTest, APlaintextServerHoldsItsCallersToAllow) {
  ServerOptions options = Allow({Methods({"shop.Cart/Put"})});
  options.mode = ServerMode::kPlaintext;
  EXPECT_EQ(Decide(options, Plaintext()), kNotAllowed);
  EXPECT_EQ(Decide(options, Plaintext(), "/shop.Cart/Put"), kByAllow);
}

// ---- Peers ----

TEST(AuthorizationTest, APlaintextCallerMatchesOnlyPlaintext) {
  EXPECT_EQ(Decide(Permissive(Deny({From({"spiffe://prod/a"})})), Plaintext()),
            kNoAllow);
  const Peer liar = {true, "spiffe://prod/a", {"a.prod"}};
  EXPECT_EQ(Decide(Permissive(Deny({From(
                       {"spiffe://prod/a", "dns:a.prod", "spiffe://prod/*"})})),
                   liar),
            kNoAllow);
  EXPECT_EQ(Decide(Permissive(Deny({From({"plaintext"})})), Plaintext()),
            kByDeny);
  EXPECT_EQ(
      Decide(Permissive(Deny({From({"plaintext"})})), Named("spiffe://prod/a")),
      kNoAllow);
  EXPECT_EQ(Decide(Permissive(Allow({From({"plaintext"})})), Plaintext()),
            kByAllow);
}

TEST(AuthorizationTest, PeersAreComparedAsBytes) {
  const ServerOptions options =
      Deny({From({"spiffe://prod/cart", "spiffe://prod/shop/*"})});
  for (const std::string& id :
       {std::string("spiffe://prod/cart"), std::string("spiffe://prod/shop/a"),
        std::string("spiffe://prod/shop/a/b")}) {
    EXPECT_EQ(Decide(options, Named(id)), kByDeny) << id;
  }
  for (const std::string& id :
       {std::string("spiffe://prod/Cart"), std::string("spiffe://PROD/cart"),
        std::string("spiffe://prod/cart/"), std::string("spiffe://prod/cart-a"),
        std::string("spiffe://prod/cart\0", 19), std::string("spiffe://prod"),
        std::string("spiffe://prod/shop"), std::string("spiffe://prod/shop/"),
        std::string("spiffe://prod/shop-evil"), std::string()}) {
    EXPECT_EQ(Decide(options, Named(id)), kNoAllow) << id;
  }
}

TEST(AuthorizationTest, APeerMatchesByAnyOfItsNames) {
  const ServerOptions options = Deny({From({"dns:cart.prod"})});
  EXPECT_EQ(Decide(options, {false, "", {"a.prod", "cart.prod"}}), kByDeny);
  EXPECT_EQ(Decide(options, {false, "spiffe://prod/a", {"cart.prod"}}),
            kByDeny);
  EXPECT_EQ(Decide(options, {false, "dns:cart.prod", {"cart.prod.evil"}}),
            kNoAllow);
}

// ---- Paths ----

std::vector<std::string> BadPaths() {
  return {"",
          "/",
          "//",
          "shop.Cart/Delete",
          "//shop.Cart/Delete",
          "/shop.Cart//Delete",
          "/shop.Cart/Delete/",
          "/shop.Cart/",
          "//Delete",
          "/shop.Cart",
          "/shop.Cart/Delete?x=1",
          "/shop.Cart/Delete#x",
          "/shop.Cart/Delete;x",
          "/shop.Cart/Del%65te",
          "/shop.Cart/%44elete",
          "/shop.Cart%2fDelete",
          "/shop.Cart/../shop.Cart/Delete",
          "/./shop.Cart/Delete",
          "/shop.Cart/Delete ",
          " /shop.Cart/Delete",
          "/shop.Cart/De-lete",
          "/shop.Cart\\Delete",
          "http://host/shop.Cart/Delete",
          "//host/shop.Cart/Delete",
          "*",
          "/shop.Cart/*",
          "/shop.Cart/D\xc3\xa9lete",
          std::string("/shop.Cart/Delete\0", 18),
          std::string("/shop.Cart\0/Delete", 18),
          absl::StrCat("/shop.Cart/", std::string(8192, '/')),
          absl::StrCat("/", std::string(8192, 'a'))};
}

TEST(AuthorizationTest, ABadPathIsDeniedWhereAnyRuleExists) {
  const Peer peer = Named("spiffe://prod/a");
  for (const std::string& path : BadPaths()) {
    EXPECT_EQ(Decide(Deny({Methods({"shop.Cart/Delete"})}), peer, path),
              kBadPath)
        << path;
    EXPECT_EQ(Decide(Allow({From({"spiffe://prod/a"})}), peer, path), kBadPath)
        << path;
    EXPECT_TRUE(Decide({}, peer, path).allowed) << path;
  }
}

TEST(AuthorizationTest, PathsAreComparedAsBytes) {
  const ServerOptions options =
      Deny({Methods({"shop.Cart/Delete", "a.B/*", "NoPackage/Do_2"})});
  const Peer peer = Named("spiffe://prod/a");
  for (const char* path :
       {"/shop.Cart/Delete", "/a.B/C", "/a.B/c", "/a.B/.", "/NoPackage/Do_2"}) {
    EXPECT_EQ(Decide(options, peer, path), kByDeny) << path;
  }
  for (const char* path :
       {"/shop.cart/Delete", "/shop.Cart/delete", "/shop.Cart/Deleted",
        "/xshop.Cart/Delete", "/shop.Cart/Delet", "/a.BB/C", "/a/B.C", "/A.B/C",
        "/NoPackage/Do_2_", "/./.."}) {
    EXPECT_EQ(Decide(options, peer, path), kNoAllow) << path;
  }
  const std::string longest = absl::StrCat("/a.B/", std::string(8192, 'x'));
  EXPECT_EQ(Decide(options, peer, longest), kByDeny);
}

// ---- Headers ----

struct HeaderCase {
  const char* name;
  Kind kind;
  const char* value;
  std::vector<Header> headers;
  bool deny;   // Whether a rule of `deny` matches.
  bool allow;  // Whether a rule of `allow` matches.
};

void PrintTo(const HeaderCase& test, std::ostream* os) { *os << test.name; }

class HeaderTest : public testing::TestWithParam<HeaderCase> {};

TEST_P(HeaderTest, MatchesAsItsListSays) {
  const HeaderCase& test = GetParam();
  const Rule rule = WithHeader("x-role", test.kind, test.value);
  const Peer peer = Named("spiffe://prod/a");
  EXPECT_EQ(Decide(Deny({rule}), peer, kPath, test.headers),
            test.deny ? kByDeny : kNoAllow);
  EXPECT_EQ(Decide(Allow({rule}), peer, kPath, test.headers),
            test.allow ? kByAllow : kNotAllowed);
}

std::vector<HeaderCase> ExactCases() {
  return {
      {"Once", Kind::kExact, "admin", {{"x-role", "admin"}}, true, true},
      {"Other", Kind::kExact, "admin", {{"x-role", "guest"}}, false, false},
      {"OtherCase", Kind::kExact, "admin", {{"x-role", "Admin"}}, false, false},
      {"Absent", Kind::kExact, "admin", {{"x", "admin"}}, false, false},
      {"AbsentForEmpty", Kind::kExact, "", {}, false, false},
      {"Empty", Kind::kExact, "", {{"x-role", ""}}, true, true},
      {"EmptyIsNoOther", Kind::kExact, "a", {{"x-role", ""}}, false, false},
  };
}

INSTANTIATE_TEST_SUITE_P(Exact, HeaderTest, testing::ValuesIn(ExactCases()),
                         [](const auto& info) { return info.param.name; });

std::vector<HeaderCase> ExactInListsCases() {
  return {
      {"TwiceTheSame",
       Kind::kExact,
       "admin",
       {{"x-role", "admin"}, {"x-role", "admin"}},
       true,
       true},
      {"TwiceFirst",
       Kind::kExact,
       "admin",
       {{"x-role", "admin"}, {"x-role", "guest"}},
       true,
       false},
      {"TwiceLast",
       Kind::kExact,
       "admin",
       {{"x-role", "guest"}, {"y", ""}, {"x-role", "admin"}},
       true,
       false},
      {"JoinedFirst",
       Kind::kExact,
       "admin",
       {{"x-role", "admin,guest"}},
       true,
       false},
      {"JoinedLast",
       Kind::kExact,
       "admin",
       {{"x-role", "guest \t,\t admin"}},
       true,
       false},
      {"JoinedAll",
       Kind::kExact,
       "admin",
       {{"x-role", "admin, admin"}},
       true,
       true},
      {"JoinedWithNothing",
       Kind::kExact,
       "admin",
       {{"x-role", "admin,"}},
       true,
       false},
      {"BlankAround",
       Kind::kExact,
       "admin",
       {{"x-role", " admin"}},
       true,
       false},
      {"Longer", Kind::kExact, "a", {{"x-role", "ab"}}, false, false},
      {"EndsAtNul",
       Kind::kExact,
       "a",
       {{"x-role", absl::string_view("a\0b", 3)}},
       false,
       false},
  };
}

INSTANTIATE_TEST_SUITE_P(ExactInLists, HeaderTest,
                         testing::ValuesIn(ExactInListsCases()),
                         [](const auto& info) { return info.param.name; });

std::vector<HeaderCase> OthersCases() {
  return {
      {"Prefix", Kind::kPrefix, "eu-", {{"x-role", "eu-1"}}, true, true},
      {"PrefixItself", Kind::kPrefix, "eu-", {{"x-role", "eu-"}}, true, true},
      {"PrefixShort", Kind::kPrefix, "eu-", {{"x-role", "eu"}}, false, false},
      {"PrefixOtherCase",
       Kind::kPrefix,
       "eu-",
       {{"x-role", "EU-1"}},
       false,
       false},
      {"PrefixAbsent", Kind::kPrefix, "eu-", {}, false, false},
      {"PrefixOfOne",
       Kind::kPrefix,
       "eu-",
       {{"x-role", "us-1, eu-1"}},
       true,
       false},
      {"PrefixOfAll",
       Kind::kPrefix,
       "eu-",
       {{"x-role", "eu-2, eu-1"}, {"x-role", "eu-3"}},
       true,
       true},
      {"Present", Kind::kPresent, "", {{"x-role", ""}}, true, true},
      {"PresentTwice",
       Kind::kPresent,
       "",
       {{"x-role", "a"}, {"x-role", "b"}},
       true,
       true},
      {"PresentAbsent", Kind::kPresent, "", {{"x-rol", "a"}}, false, false},
      {"Absent", Kind::kAbsent, "", {{"x-roles", "a"}}, true, true},
      {"AbsentPresent", Kind::kAbsent, "", {{"x-role", ""}}, false, false},
  };
}

INSTANTIATE_TEST_SUITE_P(Others, HeaderTest, testing::ValuesIn(OthersCases()),
                         [](const auto& info) { return info.param.name; });

TEST(AuthorizationTest, RefusesANameThatIsNoneWhereRulesReadHeaders) {
  const Peer peer = Named("spiffe://prod/a");
  const Decision bad = {false, false, RuleList::kNone, -1, Reason::kBadHeader};
  const ServerOptions deny = Deny({WithHeader("x-role", Kind::kExact, "evil")});
  const ServerOptions allow = Allow({WithHeader("x-role", Kind::kAbsent)});
  const std::vector<Header> good = {{":path", kPath}, {"x-other!~#", ""}};
  EXPECT_EQ(Decide(deny, peer, kPath, good), kNoAllow);
  EXPECT_EQ(Decide(allow, peer, kPath, good), kByAllow);
  for (const absl::string_view name :
       {absl::string_view("X-Role"), absl::string_view("x-rolE"),
        absl::string_view("x-role "), absl::string_view(" x-role"),
        absl::string_view("x-role:"), absl::string_view("x-role\0", 7),
        absl::string_view("x-r\xc3\xb6le"), absl::string_view("x-role\x7f"),
        absl::string_view(""), absl::string_view(":")}) {
    const std::vector<Header> headers = {{":path", kPath}, {name, "evil"}};
    EXPECT_EQ(Decide(deny, peer, kPath, headers), bad) << name;
    EXPECT_EQ(Decide(allow, peer, kPath, headers), bad) << name;
    EXPECT_EQ(Decide(Allow({From({"spiffe://prod/a"})}), peer, kPath, headers),
              kByAllow)
        << "no rule has headers";
  }
}

TEST(AuthorizationTest, SaysWhetherItReadsHeaders) {
  EXPECT_FALSE((*Authorization::Make(Allow({From({"spiffe://prod/a"})})))
                   ->reads_headers());
  EXPECT_TRUE((*Authorization::Make(Deny({WithHeader("x", Kind::kAbsent)})))
                  ->reads_headers());
}

TEST(AuthorizationTest, ManyNamesOfHeadersAreToldApart) {
  std::vector<Rule> rules;
  for (int i = 0; i < 200; ++i) {
    rules.push_back(WithHeader(absl::StrCat("x-", i), Kind::kPresent));
  }
  const auto compiled = Authorization::Make(Deny(rules));
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  for (int i = 0; i < 200; ++i) {
    const std::string name = absl::StrCat("x-", i);
    const std::vector<Header> headers = {{"a", ""}, {name, "1"}};
    const Decision decision =
        (*compiled)->Decide(Named("spiffe://prod/a"), kPath, headers);
    EXPECT_EQ(decision.rule, i);
  }
}

// ---- The whole ----

// Draws rules and calls from few words, so that they meet often.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  ServerOptions Options() {
    ServerOptions options;
    options.mode = ServerMode::kPermissive;
    if (OneIn(4)) options.rules = options::Mode::kObserve;
    if (!OneIn(4)) Fill(&options.deny);
    if (!OneIn(4)) Fill(&options.allow);
    return options;
  }

  TestCall Call() {
    TestCall call;
    if (OneIn(5)) {
      call.peer.plaintext = true;
    } else {
      if (!OneIn(4)) call.peer.spiffe_id = Of(kIds);
      while (OneIn(3)) call.peer.dns_names.emplace_back(Of(kNames));
    }
    call.path = absl::StrCat("/", Of(kServices), "/", Of(kMethods));
    if (OneIn(20)) call.path += '/';
    while (!OneIn(3)) {
      std::string value = Of(kValues);
      while (OneIn(3)) absl::StrAppend(&value, ", ", Of(kValues));
      if (OneIn(10)) value += ' ';
      call.headers.emplace_back(OneIn(30) ? "X" : Of(kHeaders), value);
    }
    return call;
  }

 private:
  static constexpr const char* kIds[] = {
      "spiffe://prod/a",   "spiffe://prod/b",  "spiffe://prod/a/b",
      "spiffe://prod/a/c", "spiffe://prod/ab", "spiffe://test/a"};
  static constexpr const char* kNames[] = {"a.prod", "b.prod"};
  static constexpr const char* kPeers[] = {
      "spiffe://prod/a", "spiffe://prod/a/b", "spiffe://prod/a/*",
      "spiffe://prod/*", "spiffe://test/*",   "dns:a.prod",
      "dns:b.prod",      "plaintext"};
  static constexpr const char* kServices[] = {"a.B", "a.C", "D"};
  static constexpr const char* kMethods[] = {"X", "Y"};
  static constexpr const char* kHeaders[] = {"x", "y"};
  static constexpr const char* kValues[] = {"", "a", "ab", "b"};

  bool OneIn(uint32_t n) { return random_.Below(n) == 0; }

  template <size_t N>
  const char* Of(const char* const (&words)[N]) {
    return words[random_.Below(N)];
  }

  // Up to 200, so that the bits of a list take several words.
  void Fill(std::vector<Rule>* rules) {
    const uint32_t few = OneIn(10) ? 200 : 4;
    for (uint32_t i = 0, n = random_.Below(few) + 1; i < n; ++i) {
      Rule rule;
      while (OneIn(2)) rule.from.emplace_back(Of(kPeers));
      while (OneIn(2)) {
        rule.methods.push_back(
            absl::StrCat(Of(kServices), "/", OneIn(2) ? "*" : Of(kMethods)));
      }
      while (OneIn(2) && rule.headers.size() < 2) AddHeader(&rule);
      if (rule.from.empty() && rule.methods.empty() && rule.headers.empty()) {
        rule.methods = {"a.B/X"};
      }
      rules->push_back(rule);
    }
  }

  void AddHeader(Rule* rule) {
    HeaderMatch match;
    match.name = rule->headers.empty() ? Of(kHeaders) : "z";
    match.kind = static_cast<Kind>(random_.Below(4));
    if (match.kind == Kind::kExact) match.value = Of(kValues);
    if (match.kind == Kind::kPrefix) match.value = "a";
    rule->headers.push_back(match);
  }

  base::Random random_;
};

TEST(AuthorizationTest, DecidesAsAPlainReadingOfTheRulesDoes) {
  int made = 0;
  std::set<std::pair<Reason, bool>> seen;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    Draw draw(seed);
    const ServerOptions options = draw.Options();
    const auto rules = Authorization::Make(options);
    if (!rules.ok()) continue;  // A rule that another covers.
    ++made;
    const AuthorizationReference reference(options);
    for (int i = 0; i < 50; ++i) {
      const TestCall call = draw.Call();
      const std::vector<Header> headers = call.Headers();
      const Decision decision = (*rules)->Decide(call.peer, call.path, headers);
      seen.insert({decision.reason, decision.allowed});
      ASSERT_EQ(decision, reference.Decide(call))
          << "seed " << seed << ", call " << i << " to " << call.path;
    }
  }
  EXPECT_GT(made, 500);
  EXPECT_EQ(seen.size(), 11u) << "each reason but plaintext under strict, and "
                                 "each refusal also observed";
}

TEST(AuthorizationTest, ADecisionAllocatesNothing) {
  std::vector<Rule> allow, deny;
  for (int i = 0; i < 100; ++i) {
    allow.push_back({{absl::StrCat("spiffe://prod/a", i), "spiffe://prod/b/*",
                      "dns:a.prod"},
                     {absl::StrCat("a.B", i, "/*"), "a.B/C"},
                     {{"x-role", Kind::kExact, "admin"}}});
    deny.push_back({{"spiffe://prod/c"}, {"a.B/C"}, {}});
  }
  ServerOptions options = Allow(allow);
  options.deny = deny;
  const auto rules = Authorization::Make(options);
  ASSERT_TRUE(rules.ok()) << rules.status();
  const Peer named = Named("spiffe://prod/b/c");
  const Peer dns = {false, "", {"b.prod", "a.prod"}};
  const std::vector<Header> headers = {{"x-role", "admin, admin, guest"},
                                       {"y", "z"}};
  const int before = allocations;
  const Decision first = (*rules)->Decide(named, "/a.B/C", headers);
  const Decision second = (*rules)->Decide(dns, "/a.B7/D", headers);
  const int made = allocations - before;
  EXPECT_EQ(made, 0);
  EXPECT_EQ(first, kNotAllowed);
  EXPECT_EQ(second, kNotAllowed);
  EXPECT_GT(allocations, 0) << "they are counted";
}

}  // namespace
}  // namespace mesh::security
