#include "mesh/security/rule_check.h"

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mesh/security/authorization.h"
#include "mesh/security/authorization_test_util.h"

namespace mesh::security {
namespace {

using options::HeaderMatch;
using options::Rule;
using options::ServerMode;
using options::ServerOptions;
using Kind = HeaderMatch::Kind;

ServerOptions Options(std::vector<Rule> allow, std::vector<Rule> deny = {},
                      ServerMode mode = ServerMode::kStrict) {
  ServerOptions options;
  options.allow = std::move(allow);
  options.deny = std::move(deny);
  options.mode = mode;
  return options;
}

struct BadRules {
  const char* name;
  ServerOptions options;
  std::string error;
};

void PrintTo(const BadRules& bad, std::ostream* os) { *os << bad.name; }

class BadRulesTest : public testing::TestWithParam<BadRules> {};

TEST_P(BadRulesTest, AreAnErrorThatSaysWhereAndWhatWouldDo) {
  const auto made = Authorization::Make(GetParam().options);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(made.status().message(), GetParam().error);
}

constexpr char kForm[] =
    " must be \"package.Service/Method\" or \"package.Service/*\", of letters, "
    "digits, \"_\" and \".\", but is ";

INSTANTIATE_TEST_SUITE_P(
    Parts, BadRulesTest,
    testing::ValuesIn(std::vector<BadRules>{
        {"Empty", Options({Rule()}),
         "server.allow[0] says nothing of a call: write at least one of from, "
         "methods and headers."},
        {"EmptyDeny", Options({}, {{{"spiffe://prod/a"}, {}, {}}, Rule()}),
         "server.deny[1] says nothing of a call: write at least one of from, "
         "methods and headers."},
        {"Peer", Options({{{"dns:a.prod", "prod/a"}, {}, {}}}),
         "server.allow[0].from[1]: the peer \"prod/a\" is not valid: write "
         "\"spiffe://domain/path\", \"spiffe://domain/path/*\" or "
         "\"dns:name\"."},
        {"LeadingSlash", Options({{{}, {"/a.B/C"}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"/a.B/C\".")},
        {"NoMethod", Options({}, {{{}, {"a.B"}, {}}}),
         absl::StrCat("server.deny[0].methods[0]", kForm, "\"a.B\".")},
        {"StarInside", Options({{{}, {"a.B/C", "a.*/C"}, {}}}),
         absl::StrCat("server.allow[0].methods[1]", kForm, "\"a.*/C\".")},
        {"OnlyStar", Options({{{}, {"*"}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"*\".")},
        {"NoService", Options({{{}, {"/*"}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"/*\".")},
        {"StarTwice", Options({{{}, {"a.B/*/*"}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"a.B/*/*\".")},
        {"Percent", Options({{{}, {"a.B/%43"}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"a.B/%43\".")},
        {"EmptyMethod", Options({{{}, {""}, {}}}),
         absl::StrCat("server.allow[0].methods[0]", kForm, "\"\".")},
    }),
    [](const auto& info) { return info.param.name; });

BadRules BadHeader(const char* name, HeaderMatch header,
                   const std::string& error) {
  return {name, Options({}, {{{}, {}, {std::move(header)}}}),
          absl::StrCat("server.deny[0].headers[", error, ".")};
}

INSTANTIATE_TEST_SUITE_P(
    Headers, BadRulesTest,
    testing::ValuesIn(std::vector<BadRules>{
        BadHeader("UpperCase", {"X-Role", Kind::kPresent, ""},
                  "\"X-Role\"] must be in lower case, as HTTP/2 has it: write "
                  "\"x-role\""),
        BadHeader("Pseudo", {":path", Kind::kPrefix, "/a"},
                  "\":path\"] is a pseudo-header, and no rule can name one: "
                  "\"methods\" is about the path, \"from\" about the caller"),
        BadHeader("Binary", {"k-bin", Kind::kPresent, ""},
                  "\"k-bin\"] is binary, and no rule can name a header that "
                  "is: use one whose name does not end with \"-bin\""),
        BadHeader("Unnamed", {"", Kind::kPresent, ""},
                  "\"\"] must have a name of lower case letters, digits, "
                  "\"-\", \"_\" and \".\", but has \"\""),
        BadHeader("Space", {"x role", Kind::kPresent, ""},
                  "\"x role\"] must have a name of lower case letters, digits, "
                  "\"-\", \"_\" and \".\", but has \"x role\""),
        BadHeader("GrpcsOwn", {"grpc-timeout", Kind::kPresent, ""},
                  "\"grpc-timeout\"] belongs to gRPC or to the connection, and "
                  "no rule can name it: use a header that the caller sets"),
        BadHeader("Host", {"host", Kind::kExact, "a"},
                  "\"host\"] belongs to gRPC or to the connection, and no rule "
                  "can name it: use a header that the caller sets"),
        BadHeader("EmptyPrefix", {"x", Kind::kPrefix, ""},
                  "\"x\"] has an empty prefix, which any value has: write "
                  "\"present: true\""),
        BadHeader("Comma", {"x", Kind::kExact, "a,b"},
                  "\"x\"] has a comma, which stands between two values of a "
                  "header: write one value, not \"a,b\""),
        BadHeader("BlankInFront", {"x", Kind::kPrefix, " a"},
                  "\"x\"] can match no header: a value has no control "
                  "characters and no blanks around it, unlike \" a\""),
        BadHeader("BlankBehind", {"x", Kind::kExact, "a "},
                  "\"x\"] can match no header: a value has no control "
                  "characters and no blanks around it, unlike \"a \""),
        BadHeader("Control", {"x", Kind::kExact, "a\nb"},
                  "\"x\"] can match no header: a value has no control "
                  "characters and no blanks around it, unlike \"a\\nb\""),
        {"Twice",
         Options({}, {{{},
                       {},
                       {{"x", Kind::kPresent, ""}, {"x", Kind::kExact, "a"}}}}),
         "server.deny[0].headers[\"x\"] stands twice in a rule: write another "
         "rule."},
    }),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Effects, BadRulesTest,
    testing::ValuesIn(std::vector<BadRules>{
        {"PlaintextUnderStrict", Options({{{"plaintext"}, {}, {}}}),
         "server.allow[0].from[0] has no effect: a strict server admits no "
         "plaintext. Remove it, or write \"mode: permissive\"."},
        {"DeniedPlaintextUnderStrict",
         Options({}, {{{"spiffe://prod/a", "plaintext"}, {}, {}}}),
         "server.deny[0].from[1] has no effect: a strict server admits no "
         "plaintext. Remove it, or write \"mode: permissive\"."},
        {"NameUnderPlaintext",
         Options({{{"spiffe://prod/a"}, {}, {}}}, {}, ServerMode::kPlaintext),
         "server.allow[0].from[0] has no effect: without TLS no caller has a "
         "name. Remove it, or write \"mode: permissive\"."},
        {"Covered",
         Options({{{"spiffe://prod/b", "spiffe://prod/a"}, {"a.B/C"}, {}}},
                 {{{"spiffe://prod/a"}, {}, {}}}),
         "server.allow[0].from[1] has no effect: what it allows is denied by "
         "server.deny[0]. Remove one of them."},
        {"CoveredByAPattern",
         Options({{{"spiffe://prod/a/b/*"}, {"a.B/C", "a.B/D"}, {}}},
                 {{{}, {"x.Y/*"}, {}}, {{"spiffe://prod/a/*"}, {"a.B/*"}, {}}}),
         "server.allow[0].from[0] has no effect: what it allows is denied by "
         "server.deny[1]. Remove one of them."},
        {"CoveredByTwo",
         Options({{{"dns:a.prod"}, {"a.B/C", "a.B/D"}, {}}},
                 {{{}, {"a.B/C"}, {}}, {{"dns:A.prod"}, {"a.B/D"}, {}}}),
         "server.allow[0].from[0] has no effect: what it allows is denied by "
         "server.deny[0] and server.deny[1]. Remove one of them."},
        {"CoveredWithoutFrom",
         Options({{{}, {"a.B/C"}, {{"x", Kind::kExact, "ab"}}}},
                 {{{}, {}, {{"x", Kind::kPrefix, "a"}}}}),
         "server.allow[0] has no effect: what it allows is denied by "
         "server.deny[0]. Remove one of them."},
    }),
    [](const auto& info) { return info.param.name; });

TEST(RuleCheckTest, TellsOfAllThatIsWrongAtOnce) {
  const auto made = Authorization::Make(
      Options({{{"a"}, {"b"}, {}}}, {Rule(), {{}, {"c"}, {}}}));
  const std::string error(made.status().message());
  EXPECT_TRUE(absl::StartsWith(error, "server.allow[0].from[0]: ")) << error;
  for (const char* line : {"\nserver.allow[0].methods[0] ", "\nserver.deny[0] ",
                           "\nserver.deny[1].methods[0] "}) {
    EXPECT_TRUE(absl::StrContains(error, line)) << error;
  }
}

TEST(RuleCheckTest, AListHasAnEnd) {
  const Rule rule = {{"spiffe://prod/a"}, {}, {}};
  EXPECT_TRUE(Authorization::Make(Options(std::vector<Rule>(1000, rule))).ok());
  EXPECT_EQ(Authorization::Make(Options({}, std::vector<Rule>(1001, rule)))
                .status()
                .message(),
            "server.deny must have at most 1000 rules, but has 1001.");
}

TEST(RuleCheckTest, TheNearestGoodRulesAreFine) {
  for (const ServerOptions& options : std::vector<ServerOptions>{
           Options({}),
           Options({{{"plaintext"}, {}, {}}}, {}, ServerMode::kPermissive),
           Options({{{"plaintext"}, {}, {}}}, {}, ServerMode::kPlaintext),
           Options({}, {{{}, {"a.B/*", "NoPackage/M_1"}, {}}}),
           Options({{{}, {}, {{"x", Kind::kExact, ""}}}}),
           Options({{{}, {}, {{"x", Kind::kPrefix, "a "}}}}),
           Options({{{}, {}, {{"x-y_z.0", Kind::kExact, "a b;\"c\""}}}}),
           Options({{{}, {}, {{"bin", Kind::kAbsent, ""}}}}),
       }) {
    EXPECT_TRUE(Authorization::Make(options).ok())
        << Authorization::Make(options).status();
  }
}

// A rule that is only covered in part has an effect.
TEST(RuleCheckTest, WhatDenyCoversInPartIsFine) {
  const Rule a = {{"spiffe://prod/a"}, {}, {}};
  const Rule below_a = {{"spiffe://prod/a/*"}, {}, {}};
  const Rule a_method = {{"spiffe://prod/a"}, {"a.B/C"}, {}};
  const Rule a_service = {{"spiffe://prod/a"}, {"a.B/*"}, {}};
  const Rule two_methods = {{"spiffe://prod/a"}, {"a.B/C", "a.D/C"}, {}};
  const Rule a_header = {{"spiffe://prod/a"}, {}, {{"x", Kind::kPresent, ""}}};
  const Rule exact = {{}, {}, {{"x", Kind::kExact, "a"}}};
  const Rule prefix = {{}, {}, {{"x", Kind::kPrefix, "a"}}};
  const Rule absent = {{}, {}, {{"x", Kind::kAbsent, ""}}};
  const Rule anybody = {{}, {"a.B/C"}, {}};
  struct Pair {
    Rule allow, deny;
  };
  for (const Pair& pair : std::vector<Pair>{{a, below_a},
                                            {below_a, a},
                                            {a, a_method},
                                            {a, a_header},
                                            {a_service, a_method},
                                            {two_methods, a_service},
                                            {anybody, a_method},
                                            {prefix, exact},
                                            {exact, absent},
                                            {absent, exact}}) {
    const absl::Status status = RulesStatus(Options({pair.allow}, {pair.deny}));
    EXPECT_TRUE(status.ok()) << status;
  }
}

// What is said to have no effect has none: no call is admitted by it.
TEST(RuleCheckTest, WhatIsCoveredAdmitsNoCall) {
  const std::vector<std::string> peers = {"spiffe://prod/a",
                                          "spiffe://prod/a/*", "dns:a.prod"};
  const std::vector<std::string> methods = {"a.B/C", "a.B/*"};
  const std::vector<HeaderMatch> headers = {{"x", Kind::kExact, "a"},
                                            {"x", Kind::kPrefix, "a"},
                                            {"x", Kind::kPresent, ""},
                                            {"x", Kind::kAbsent, ""}};
  std::vector<Rule> rules;
  for (int i = 0; i < 4 * 3 * 5; ++i) {
    Rule rule;
    if (i % 4 < 3) rule.from = {peers[i % 4]};
    if (i / 4 % 3 < 2) rule.methods = {methods[i / 4 % 3]};
    if (i / 12 < 4) rule.headers = {headers[i / 12]};
    if (!(rule == Rule())) rules.push_back(rule);
  }
  std::vector<TestCall> calls;
  for (const Peer& peer : std::vector<Peer>{{false, "spiffe://prod/a", {}},
                                            {false, "spiffe://prod/a/b", {}},
                                            {false, "", {"a.prod"}},
                                            {false, "spiffe://prod/c", {}}}) {
    for (const char* path : {"/a.B/C", "/a.B/D", "/a.E/C"}) {
      for (const char* value : {"", "a", "ab", "b", "a,ab", "none"}) {
        calls.push_back({peer, path, {{"x", value}}});
        if (std::string(value) == "none") calls.back().headers.clear();
      }
    }
  }
  int covered = 0;
  for (const Rule& allow : rules) {
    for (const Rule& deny : rules) {
      const ServerOptions options = Options({allow}, {deny});
      const AuthorizationReference reference(options);
      bool admits = false;
      for (const TestCall& call : calls) {
        admits = admits || reference.Decide(call).reason == Reason::kAllowed;
      }
      EXPECT_EQ(RuleProblems(options).empty(), admits) << RulesStatus(options);
      covered += admits ? 0 : 1;
    }
  }
  EXPECT_GT(covered, 200);
}

}  // namespace
}  // namespace mesh::security
