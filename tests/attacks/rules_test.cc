// Attacks on a server's rules: what a client may write in HTTP/2 that gRPC's
// own client would not.

#include <atomic>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/generic/async_generic_service.h"
#include "gtest/gtest.h"
#include "tests/attacks/key_bytes.h"
#include "tests/attacks/site.h"

namespace mesh::test {
namespace {

using options::HeaderMatch;
using options::Rule;
using options::ServerMode;
using options::ServerOptions;
using server::Wire;
using server::Wires;

constexpr char kUnary[] = "mesh.test.TestService/Unary";
constexpr char kBidi[] = "mesh.test.TestService/Bidi";
constexpr char kAll[] = "mesh.test.TestService/*";

struct RawCall {
  std::string path = kUnaryPath;
  RawHeaders headers;
};

struct RuleRow {
  std::string name;
  ServerOptions rules;
  RawCall bad;
  RawCall good;
};
void PrintTo(const RuleRow& row, std::ostream* out) { *out << row.name; }

Rule Methods(std::vector<std::string> methods) {
  Rule rule;
  rule.methods = std::move(methods);
  return rule;
}
Rule With(HeaderMatch::Kind kind, const std::string& value = "") {
  Rule rule;
  rule.methods = {kAll};
  rule.headers = {{"x-role", kind, value}};
  return rule;
}
RawCall Path(const std::string& path) { return {path, {}}; }
RawCall Roles(const std::vector<std::string>& roles,
              const std::string& name = "x-role") {
  RawCall call;
  for (const std::string& role : roles) call.headers.emplace_back(name, role);
  return call;
}

// A table.
std::vector<RuleRow> PathRows() {
  // Any rule will do: it is about another method.
  const ServerOptions any = Deny(Methods({kBidi}));
  const ServerOptions only = Allow(Methods({kUnary}));
  const RawCall good = Path(kUnaryPath);
  const std::string service = "/mesh.test.TestService/";
  return {
      {"TheDeniedMethod", any, Path(absl::StrCat("/", kBidi)), good},
      {"NoSlash", any, Path(kUnary), good},
      {"TwoSlashesInFront", any, Path(absl::StrCat("//", kUnary)), good},
      {"TwoSlashesBetween", any, Path(service + "/Unary"), good},
      {"PercentInTheMethod", any, Path(service + "Un%61ry"), good},
      {"PercentForTheSlash", any, Path("/mesh.test.TestService%2fUnary"), good},
      {"Query", any, Path(service + "Unary?x=1"), good},
      {"Fragment", any, Path(service + "Unary#x"), good},
      {"Semicolon", any, Path(service + "Unary;x"), good},
      {"SlashAtTheEnd", any, Path(service + "Unary/"), good},
      {"HostForm", any,
       Path(absl::StrCat("http://localhost", service, "Unary")), good},
      {"HostFormWithoutAScheme", any,
       Path(absl::StrCat("//localhost", service, "Unary")), good},
      {"DotDot", any, Path("/x/.." + service + "Unary"), good},
      {"Backslash", any, Path("/mesh.test.TestService\\Unary"), good},
      {"BlankAtTheEnd", any, Path(service + "Unary "), good},
      {"NulAtTheEnd", any, Path(service + "Unary" + std::string(1, '\0')),
       good},
      {"Empty", any, Path(""), good},
      {"Star", any, Path("*"), good},
      {"OnlyASlash", any, Path("/"), good},
      {"ServiceInOtherCase", only, Path("/mesh.test.testservice/Unary"), good},
      {"MethodInOtherCase", only, Path(service + "unary"), good},
      {"EightKibibytes", only, Path(service + std::string(8192, 'a')), good},
      {"EightKibibytesInFront", only,
       Path(absl::StrCat("/", std::string(8192, 'a'), ".", kUnary)), good},
  };
}

// A table.
std::vector<RuleRow> HeaderRows() {
  using Kind = HeaderMatch::Kind;
  const ServerOptions no_evil = Deny(With(Kind::kExact, "evil"));
  const ServerOptions no_evils = Deny(With(Kind::kPrefix, "ev"));
  const ServerOptions no_role = Deny(With(Kind::kPresent));
  const ServerOptions some_role = Deny(With(Kind::kAbsent));
  const ServerOptions admin = Allow(With(Kind::kExact, "admin"));
  const ServerOptions admins = Allow(With(Kind::kPrefix, "ad"));
  const RawCall none;
  return {
      {"DenyOnce", no_evil, Roles({"evil"}), Roles({"good"})},
      {"DenyTwice", no_evil, Roles({"good", "evil"}), Roles({"good", "good"})},
      {"DenyTwiceInTheOtherOrder", no_evil, Roles({"evil", "good"}),
       Roles({"good", "evil?"})},
      {"DenyJoinedByComma", no_evil, Roles({"good,evil"}),
       Roles({"good,evil?"})},
      {"DenyJoinedWithBlanks", no_evil, Roles({"good , evil ,x"}),
       Roles({"good , ev il"})},
      {"DenyUpperCaseName", no_evil, Roles({"evil"}, "X-Role"),
       Roles({"good"})},
      {"DenyAbsentAndUpperCaseName", some_role, Roles({"x"}, "X-Role"),
       Roles({"x"})},
      {"DenyPresentAndUpperCaseName", no_role, Roles({"x"}, "X-Role"), none},
      {"DenyPrefixTwice", no_evils, Roles({"good", "evil"}), Roles({"good"})},
      {"DenyPresentAndEmpty", no_role, Roles({""}), none},
      {"DenyPresentTwice", no_role, Roles({"a", "b"}), none},
      // An absent header is no match but for `absent`.
      {"DenyExactAndAbsent", no_evil, Roles({"evil"}), none},
      {"DenyPrefixAndAbsent", no_evils, Roles({"evil"}), none},
      {"DenyAbsent", some_role, none, Roles({"x"})},
      {"DenyAbsentAndBinary", some_role, Roles({"YWRtaW4"}, "x-role-bin"),
       Roles({""})},
      {"AllowAndAbsent", admin, none, Roles({"admin"})},
      {"AllowTwice", admin, Roles({"admin", "guest"}),
       Roles({"admin", "admin"})},
      {"AllowTwiceInTheOtherOrder", admin, Roles({"guest", "admin"}),
       Roles({"admin"})},
      {"AllowJoinedByComma", admin, Roles({"admin,guest"}),
       Roles({"admin,admin"})},
      {"AllowEmpty", admin, Roles({""}), Roles({"admin"})},
      {"AllowAndEmptyBeside", admin, Roles({"admin,"}), Roles({"admin"})},
      {"AllowUpperCaseValue", admin, Roles({"Admin"}), Roles({"admin"})},
      {"AllowUpperCaseName", admin, Roles({"admin"}, "X-Role"),
       Roles({"admin"})},
      {"AllowBinary", admin, Roles({"YWRtaW4"}, "x-role-bin"),
       Roles({"admin"})},
      {"AllowBlankInFront", admin, Roles({" admin"}), Roles({"admin"})},
      {"AllowPrefixTwice", admins, Roles({"admin", "guest"}),
       Roles({"admin", "ad"})},
      {"AllowOtherName", admin, Roles({"admin"}, "x_role"), Roles({"admin"})},
  };
}

// A server whose rules are in force for both wires.
class RuleTest : public testing::TestWithParam<std::tuple<Wire, RuleRow>> {
 protected:
  static const RuleRow& row() { return std::get<1>(GetParam()); }
  static Wire wire() { return std::get<0>(GetParam()); }
  static ServerOptions InMode(ServerOptions rules, Wire wire) {
    rules.mode =
        wire == Wire::kTls ? ServerMode::kStrict : ServerMode::kPlaintext;
    return rules;
  }
  std::unique_ptr<RawLink> Link() {
    if (wire() == Wire::kPlaintext) {
      return std::make_unique<PlainLink>(site_.port());
    }
    TlsSettings settings;
    settings.shown = TheCast().client;
    auto link = std::make_unique<TlsLink>(site_.port(), std::move(settings));
    EXPECT_TRUE(link->Handshake());
    return link;
  }
  static RawEnd Send(RawLink* link, const RawCall& call) {
    const RawEnd end = RawHttp2(link).Call(call.path, call.headers);
    Outputs::OfProcess().Add(end.message);
    return end;
  }

  Site site_{InMode(row().rules, wire()), Wires{true, true},
             [](server::ListenOptions*, grpc::ServerBuilder* builder) {
               // So that rules see long paths, and not gRPC's limit alone.
               builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                                           64 << 10);
             }};
};

TEST_P(RuleTest, IsRefusedAndItsNearestIsServed) {
  const RawEnd bad = Send(Link().get(), row().bad);
  EXPECT_EQ(bad.status, grpc::StatusCode::PERMISSION_DENIED) << bad.text();
  EXPECT_EQ(site_.handled(), 0);
  EXPECT_TRUE(IsServed(Send(Link().get(), row().good)));
  EXPECT_EQ(site_.handled(), 1);
  site_.SetRules({});
  EXPECT_TRUE(site_.ServesOn());
}

const auto kWires = testing::Values(Wire::kTls, Wire::kPlaintext);
std::string NameOfRule(
    const testing::TestParamInfo<std::tuple<Wire, RuleRow>>& info) {
  return absl::StrCat(std::get<1>(info.param).name,
                      std::get<0>(info.param) == Wire::kTls ? "" : "Plaintext");
}
INSTANTIATE_TEST_SUITE_P(Paths, RuleTest,
                         testing::Combine(kWires,
                                          testing::ValuesIn(PathRows())),
                         NameOfRule);
INSTANTIATE_TEST_SUITE_P(Headers, RuleTest,
                         testing::Combine(kWires,
                                          testing::ValuesIn(HeaderRows())),
                         NameOfRule);

TEST(LongPathTest, IsRefusedByTheLimitOfGrpcToo) {
  Site site(Allow(Methods({kAll})));
  TlsSettings settings;
  settings.shown = TheCast().client;
  TlsLink link(site.port(), settings);
  ASSERT_TRUE(link.Handshake());
  RawHttp2 client(&link);
  const RawEnd end =
      client.Call("/mesh.test.TestService/" + std::string(8192, 'a'));
  EXPECT_NE(end.status, 0) << end.text();
  EXPECT_EQ(site.handled(), 0);
  EXPECT_TRUE(IsServed(client.Call(kUnaryPath))) << "the same connection";
}

TEST(NoPathTest, IsRefused) {
  Site site(Deny(Methods({kBidi})));
  for (const bool with_path : {false, true}) {
    TlsSettings settings;
    settings.shown = TheCast().client;
    TlsLink link(site.port(), settings);
    ASSERT_TRUE(link.Handshake());
    RawHeaders headers = {
        {":method", "POST"}, {":scheme", "http"}, {":authority", "localhost"}};
    if (with_path) headers.insert(headers.begin() + 1, {":path", kUnaryPath});
    headers.insert(headers.end(),
                   {{"te", "trailers"}, {"content-type", "application/grpc"}});
    const RawEnd end = RawHttp2(&link).CallWith(headers);
    EXPECT_EQ(end.status == 0, with_path) << end.text();
    EXPECT_EQ(site.handled(), with_path ? 1 : 0);
  }
}

TEST(TwoPathsTest, AreNotReadInTwoWays) {
  Site site(Deny(Methods({kBidi})));
  const std::string denied = absl::StrCat("/", kBidi);
  for (const bool denied_first : {false, true}) {
    TlsSettings settings;
    settings.shown = TheCast().client;
    TlsLink link(site.port(), settings);
    ASSERT_TRUE(link.Handshake());
    const std::string first = denied_first ? denied : kUnaryPath;
    const std::string second = denied_first ? kUnaryPath : denied;
    RawHttp2(&link).CallWith({{":method", "POST"},
                              {":scheme", "http"},
                              {":path", first},
                              {":path", second},
                              {":authority", "localhost"},
                              {"te", "trailers"},
                              {"content-type", "application/grpc"}});
    EXPECT_EQ(site.door().seen().streams, 0) << "the handler of what is denied";
    EXPECT_TRUE(site.ServesOn());
  }
}

// ---- Generic services ----

// Answers any path.
class AnyService final : public grpc::CallbackGenericService {
 public:
  int handled() const { return handled_; }

 private:
  class Ends final : public grpc::ServerGenericBidiReactor {
   public:
    Ends() { Finish(grpc::Status(grpc::StatusCode::ABORTED, "handled")); }
    void OnDone() override { delete this; }
  };
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext*) override {
    ++handled_;
    return new Ends;
  }
  std::atomic<int> handled_{0};
};

TEST(GenericServiceTest, SeesNoPathThatRulesCouldNotRead) {
  AnyService service;
  Site site(Deny(Methods({"shop.Cart/Drop"})), Wires{true, false},
            [&](server::ListenOptions*, grpc::ServerBuilder* builder) {
              builder->RegisterCallbackGenericService(&service);
            });
  TlsSettings settings;
  settings.shown = TheCast().client;
  TlsLink link(site.port(), settings);
  ASSERT_TRUE(link.Handshake());
  RawHttp2 client(&link);
  for (const char* const path :
       {"/shop.Cart/Drop", "shop.Cart/Drop", "//shop.Cart/Drop",
        "/shop.Cart//Drop", "/shop.Cart/Dr%6fp", "/shop.Cart/Drop/",
        "/shop.Cart/Drop?x", "/shop.Cart/Drop;x", "/x/shop.Cart/Drop",
        "http://a/shop.Cart/Drop", "/", "/shop.Cart", "x"}) {
    EXPECT_EQ(client.Call(path).status, grpc::StatusCode::PERMISSION_DENIED)
        << path;
  }
  EXPECT_EQ(service.handled(), 0);
  EXPECT_EQ(client.Call("/shop.Cart/Add").status, grpc::StatusCode::ABORTED);
  EXPECT_EQ(service.handled(), 1);
  EXPECT_TRUE(site.ServesOn());
}

// ---- Plaintext ----

TEST(PlaintextTest, APeerWithoutTlsHasNoName) {
  ServerOptions rules = Allow(From({"spiffe://prod/*"}));
  rules.mode = ServerMode::kPermissive;
  Site site(rules, Wires{true, true});
  const auto call = [&site](const RawHeaders& headers) {
    PlainLink link(site.port());
    return RawHttp2(&link).Call(kUnaryPath, headers);
  };
  // While a fleet migrates, `allow` only counts.
  EXPECT_TRUE(IsServed(call({})));
  EXPECT_TRUE(IsServed(call({{"x-spiffe-id", kCart}})));
  EXPECT_EQ(site.observed(), 2) << "no rule matched";
  EXPECT_TRUE(site.ServesOn());
  EXPECT_EQ(site.observed(), 2) << "one with a name";

  rules.deny = {From({"plaintext"})};
  site.SetRules(rules);
  EXPECT_TRUE(IsRefused(call({})));
  rules.deny = {From({"spiffe://prod/*"})};
  rules.allow = {};
  site.SetRules(rules);
  EXPECT_TRUE(IsServed(call({}))) << "it is not from there";
  EXPECT_FALSE(site.ServesOn());

  rules = Allow(From({"spiffe://prod/*"}));
  site.SetRules(rules);  // Strict: whatever the port takes.
  const int handled = site.handled();
  EXPECT_TRUE(IsRefused(call({})));
  EXPECT_TRUE(IsRefused(call({{"x-spiffe-id", kCart}})));
  EXPECT_EQ(site.handled(), handled);
  EXPECT_TRUE(site.ServesOn());
}

// ---- Reloads ----

TEST(ReloadTest, HoldsForTheNextCallOfAConnection) {
  for (const Wire wire : {Wire::kTls, Wire::kPlaintext}) {
    ServerOptions rules = Allow(Methods({kUnary}));
    rules.mode = ServerMode::kPermissive;
    const ServerOptions open = rules;
    rules.deny = {Methods({kAll})};
    rules.allow = {};
    Site site(open, Wires{true, true});
    std::unique_ptr<RawLink> link = std::make_unique<PlainLink>(site.port());
    if (wire == Wire::kTls) {
      TlsSettings settings;
      settings.shown = TheCast().client;
      auto tls = std::make_unique<TlsLink>(site.port(), settings);
      ASSERT_TRUE(tls->Handshake());
      link = std::move(tls);
    }
    RawHttp2 client(link.get());
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(IsServed(client.Call(kUnaryPath)));
      site.SetRules(rules);
      EXPECT_EQ(client.Call(kUnaryPath).status,
                grpc::StatusCode::PERMISSION_DENIED);
      site.SetRules(open);
    }
    EXPECT_EQ(site.handled(), 3);
  }
}

TEST(ReloadTest, LeavesAStreamThatWasAdmitted) {
  const Cast& cast = TheCast();
  Site site;
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = cast.root.pem();
  options.pem_cert_chain = cast.client.chain;
  options.pem_private_key = cast.client.key->Pem();
  const auto stub =
      NewStub(site.door().target(), grpc::SslCredentials(options));
  grpc::ClientContext context;
  const auto stream = stub->Bidi(&context);
  Reply reply;
  ASSERT_TRUE(stream->Write(Request()) && stream->Read(&reply));
  site.SetRules(Deny(Methods({kAll})));
  EXPECT_TRUE(stream->Write(Request()) && stream->Read(&reply))
      << "rules are about calls, and this one was admitted";
  EXPECT_EQ(Ask(stub.get()).status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED)
      << "a new call of the same connection";
  {
    grpc::ClientContext other;
    const auto refused = stub->Bidi(&other);
    refused->Write(Request());
    EXPECT_FALSE(refused->Read(&reply));
    EXPECT_EQ(refused->Finish().error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  site.SetRules({});
  EXPECT_TRUE(stream->Write(Request()) && stream->Read(&reply));
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(Ask(stub.get()).status.ok());
}

}  // namespace
}  // namespace mesh::test
