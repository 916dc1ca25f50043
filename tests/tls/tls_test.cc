// TLS and mutual TLS as configuration has them, and credentials given in code.

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "gtest/gtest.h"
#include "tests/process/process.h"
#include "tests/scenario/scenario.h"
#include "tests/support/test_server.h"

namespace mesh::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A certificate and its key, in PEM files.
struct Certificate {
  std::string cert_file;
  std::string key_file;
};

class TlsTest : public testing::Test {
 protected:
  // With no `issuer` an authority, otherwise a certificate of it for `name`
  // ("DNS:" and the name, if `alternative` is empty).
  static Certificate Make(const std::string& name,
                          const Certificate* issuer = nullptr,
                          const std::string& alternative = "") {
    static int number = 0;
    const std::string base =
        absl::StrCat(directory_->path(), "/", name, ++number);
    const Certificate made = {base + ".pem", base + ".key"};
    std::vector<std::string> command = {"openssl",
                                        "req",
                                        "-x509",
                                        "-newkey",
                                        "ec",
                                        "-pkeyopt",
                                        "ec_paramgen_curve:prime256v1",
                                        "-nodes",
                                        "-days",
                                        "2",
                                        "-subj",
                                        "/CN=" + name,
                                        "-keyout",
                                        made.key_file,
                                        "-out",
                                        made.cert_file};
    if (issuer != nullptr) {
      for (const std::string& word :
           {std::string("-CA"), issuer->cert_file, std::string("-CAkey"),
            issuer->key_file, std::string("-addext"),
            absl::StrCat("subjectAltName=",
                         alternative.empty() ? "DNS:" + name : alternative)}) {
        command.push_back(word);
      }
    }
    const auto result = RunToEnd(command, absl::Seconds(60));
    EXPECT_TRUE(result.ok()) << result.status();
    return made;
  }

  static void SetUpTestSuite() {
    directory_ = new TempDirectory;
    authority_ = new Certificate(Make("authority"));
    other_authority_ = new Certificate(Make("other-authority"));
    server_certificate_ = new Certificate(Make("test", authority_));
    client_certificate_ = new Certificate(Make("caller", authority_));
  }

  static void TearDownTestSuite() {
    delete directory_;
    delete authority_;
    delete other_authority_;
    delete server_certificate_;
    delete client_certificate_;
  }

  // A server with a certificate, for "test" if none is given. With `mutual` it
  // wants one of the authority's from its clients.
  static std::unique_ptr<TestServer> StartServer(
      bool mutual = false, const Certificate* certificate = nullptr) {
    if (certificate == nullptr) certificate = server_certificate_;
    grpc::SslServerCredentialsOptions tls(
        mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
               : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
    tls.pem_key_cert_pairs.push_back(
        {Contents(certificate->key_file), Contents(certificate->cert_file)});
    if (mutual) tls.pem_root_certs = Contents(authority_->cert_file);
    TestServer::Options options;
    options.credentials = grpc::SslServerCredentials(tls);
    return TestServer::Start(std::move(options)).value();
  }

  static v1::Config WithTls(const TestServer& server) {
    v1::Config config = OneService({server.address()});
    TheService(&config).mutable_tls()->set_ca_file(authority_->cert_file);
    return config;
  }

  static grpc::Status CallWith(const v1::Config& config, Seen* seen = nullptr,
                               Options options = {}) {
    const std::unique_ptr<Mesh> mesh = MakeMesh(config, std::move(options));
    const auto stub = StubOf(*mesh);
    Request request;
    request.mutable_directives()->set_echo(true);
    Reply reply;
    const grpc::Status status = CallUnary(*stub, request, &reply);
    if (seen != nullptr) *seen = reply.seen();
    return status;
  }

  static void ExpectHandshakeFails(const v1::Config& config) {
    const grpc::Status status = CallWith(config);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(),
                AllOf(HasSubstr("onnect"), HasSubstr("127.0.0.1")));
  }

  static std::string CreateError(const v1::Config& config) {
    const auto mesh = Mesh::Create(config);
    EXPECT_EQ(mesh.status().code(), absl::StatusCode::kInvalidArgument)
        << mesh.status();
    return std::string(mesh.status().message());
  }

  static TempDirectory* directory_;
  static Certificate* authority_;
  static Certificate* other_authority_;
  static Certificate* server_certificate_;
  static Certificate* client_certificate_;
};

TempDirectory* TlsTest::directory_ = nullptr;
Certificate* TlsTest::authority_ = nullptr;
Certificate* TlsTest::other_authority_ = nullptr;
Certificate* TlsTest::server_certificate_ = nullptr;
Certificate* TlsTest::client_certificate_ = nullptr;

TEST_F(TlsTest, AServerIsKnownByTheServicesName) {
  const auto server = StartServer();
  Seen seen;
  const grpc::Status status = CallWith(WithTls(*server), &seen);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(seen.authority(), "test");
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsRefused) {
  const auto server = StartServer();
  v1::Config config = WithTls(*server);
  TheService(&config).mutable_tls()->set_ca_file(other_authority_->cert_file);
  ExpectHandshakeFails(config);
}

TEST_F(TlsTest, AServerOfAnotherNameIsRefused) {
  const auto server = StartServer();
  v1::Config config = WithTls(*server);
  TheService(&config).set_authority("somebody-else");
  ExpectHandshakeFails(config);
}

TEST_F(TlsTest, TheAuthorityIsTheNameThatIsExpected) {
  const auto server = StartServer();
  v1::Config original = WithTls(*server);
  v1::Config config;
  v1::Service& service = (*config.mutable_services())["another-name"];
  service = TheService(&original);
  service.set_authority("test");
  const auto mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh, "another-name");
  const grpc::Status status = CallUnary(*stub, Request());
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, AnEndpointsAuthorityGoesBeforeTheServices) {
  const auto server = StartServer();
  v1::Config config = WithTls(*server);
  TheService(&config).set_authority("somebody-else");
  TheService(&config).mutable_endpoints(0)->set_authority("test");
  Seen seen;
  const grpc::Status status = CallWith(config, &seen);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(seen.authority(), "test");
}

TEST_F(TlsTest, TheServerSeesTheCertificateOfTheCaller) {
  const auto server = StartServer(/*mutual=*/true);
  v1::Config config = WithTls(*server);
  v1::Tls& tls = *TheService(&config).mutable_tls();
  tls.set_cert_file(client_certificate_->cert_file);
  tls.set_key_file(client_certificate_->key_file);
  Seen seen;
  const grpc::Status status = CallWith(config, &seen);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(seen.peer_identity(), testing::ElementsAre("caller"));
}

TEST_F(TlsTest, ACallerWithoutACertificateIsRefusedWhereOneIsWanted) {
  const auto server = StartServer(/*mutual=*/true);
  const grpc::Status status = CallWith(WithTls(*server));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ACallerWithACertificateOfAnotherAuthorityIsRefused) {
  const auto server = StartServer(/*mutual=*/true);
  const Certificate stranger = Make("stranger", other_authority_);
  v1::Config config = WithTls(*server);
  v1::Tls& tls = *TheService(&config).mutable_tls();
  tls.set_cert_file(stranger.cert_file);
  tls.set_key_file(stranger.key_file);
  EXPECT_EQ(CallWith(config).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, PlaintextToATlsServerFailsAndSoDoesTlsToAPlaintextServer) {
  const auto server = StartServer();
  EXPECT_EQ(CallWith(OneService({server->address()})).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  const auto plaintext = TestServer::Start().value();
  EXPECT_EQ(CallWith(WithTls(*plaintext)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, AnEndpointThatFailsItsHandshakeIsPassedOver) {
  const auto good = StartServer();
  const auto plaintext = TestServer::Start().value();
  v1::Config config = WithTls(*good);
  TheService(&config).add_endpoints()->set_address(plaintext->address());
  const auto mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  for (int i = 0; i < 50; ++i) {
    const grpc::Status status = CallUnary(*stub, Request());
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

TEST_F(TlsTest, CredentialsGivenInCodeGoBeforeThoseOfTheConfiguration) {
  const auto server = StartServer();
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = Contents(authority_->cert_file);
  Options options;
  options.credentials["test"] = grpc::SslCredentials(tls);
  v1::Config config = WithTls(*server);
  TheService(&config).mutable_tls()->set_ca_file(other_authority_->cert_file);
  const grpc::Status status = CallWith(config, nullptr, std::move(options));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, AChannelWithoutConfigurationExpectsTheNameInItsTarget) {
  const Certificate by_address = Make("by-address", authority_, "IP:127.0.0.1");
  const auto server = StartServer(/*mutual=*/false, &by_address);
  const auto other = StartServer();
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = Contents(authority_->cert_file);

  TestService::Stub stub(
      CreateChannel(server->address(), grpc::SslCredentials(tls)));
  const grpc::Status status = CallUnary(stub, Request());
  EXPECT_TRUE(status.ok()) << status.error_message();

  TestService::Stub refused(
      CreateChannel(other->address(), grpc::SslCredentials(tls)));
  EXPECT_EQ(CallUnary(refused, Request()).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ConnectionsAreKeptWhenAReloadChangesNothingOfTheirs) {
  const auto server = StartServer();
  v1::Config config = WithTls(*server);
  const auto mesh = MakeMesh(config);
  const auto stub = StubOf(*mesh);
  Request request;
  request.mutable_directives()->set_echo(true);
  Reply before, after;
  ASSERT_TRUE(CallUnary(*stub, request, &before).ok());

  TheService(&config).mutable_policy()->mutable_timeout()->set_seconds(5);
  ASSERT_TRUE(mesh->Reload(config).ok());
  ASSERT_TRUE(WaitUntil([&] {
    EXPECT_TRUE(CallUnary(*stub, request, &after).ok());
    // Not the 10 s of the call. gRPC rounds what is left up.
    return after.seen().deadline_ms() < 6000;
  }));

  EXPECT_EQ(after.seen().peer(), before.seen().peer());
}

TEST_F(TlsTest, SaysWhichFileIsMissingOrWrong) {
  const auto server = StartServer();
  v1::Config config = WithTls(*server);
  v1::Tls& tls = *TheService(&config).mutable_tls();
  tls.set_ca_file(directory_->path() + "/nothing.pem");
  const auto missing = Mesh::Create(config);
  EXPECT_FALSE(missing.ok());
  EXPECT_THAT(std::string(missing.status().message()),
              AllOf(HasSubstr("services.test.tls"), HasSubstr("nothing.pem")));

  tls.set_ca_file(authority_->key_file);
  EXPECT_THAT(CreateError(config), AllOf(HasSubstr("services.test.tls"),
                                         HasSubstr(authority_->key_file)));

  tls.set_ca_file(authority_->cert_file);
  tls.set_cert_file(client_certificate_->cert_file);
  EXPECT_THAT(CreateError(config), HasSubstr("key_file"));

  tls.set_key_file(server_certificate_->key_file);
  EXPECT_THAT(CreateError(config), HasSubstr(server_certificate_->key_file));
}

}  // namespace
}  // namespace mesh::test
