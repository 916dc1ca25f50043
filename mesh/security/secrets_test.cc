#include "mesh/security/secrets.h"

#include <stdlib.h>

#include <fstream>
#include <initializer_list>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/options/security.h"

namespace mesh::security {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Two authorities that nothing else knows; their keys were thrown away.
constexpr char kOne[] = R"(-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUPY9jFn+jcR3xG9B80r+0i1syaXEwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKYXV0aG9yaXR5MTAgFw0yNjExMjkxODEwNDBaGA8yMTI2MTEw
NTE4MTA0MFowFTETMBEGA1UEAwwKYXV0aG9yaXR5MTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABNmnlIcCjn+8ZoStRNc7cYOA0Efyf3PJDwJS+vq6pIqavlK0+uQW
ajlpbdgYVbGph1oqLWOssrmp6EyZbdsRNeejUzBRMB0GA1UdDgQWBBRLool01cpW
RVn06dnbTsILlP7kITAfBgNVHSMEGDAWgBRLool01cpWRVn06dnbTsILlP7kITAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQD9I60tH8OQbWD9VzAv
QGqpH/O65xjwjS7bfwpCtxpTuQIgeuDw6MAyKyKJcFfiJShOG8mIruZZFYL1YPdH
BL2XHtc=
-----END CERTIFICATE-----
)";
constexpr char kOther[] = R"(-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIUaGGddm1fh/D2sPHIWulfidoTm1YwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKYXV0aG9yaXR5MjAgFw0yNjExMjkxODEwNDBaGA8yMTI2MTEw
NTE4MTA0MFowFTETMBEGA1UEAwwKYXV0aG9yaXR5MjBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABO/sJckTaUGclKKs1gEw6OysBEBQqFGQaLtNEK4B7lN//hwKytsG
+Izj7sl9S+I9omuSOaLYySntG8VLMZILHr6jUzBRMB0GA1UdDgQWBBTtOO1Weswf
HiCrbBgkxq1FJ4kASzAfBgNVHSMEGDAWgBTtOO1WeswfHiCrbBgkxq1FJ4kASzAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCID+SgH3rKIMkCn6T8feU
SITm984E+YI3cp/VVlbrriuyAiBtnDvXF6WmPn1R2y7/aQ4M5k7RKT/FdIUE5G1N
ok3bnw==
-----END CERTIFICATE-----
)";

class ServiceSecretsTest : public testing::Test {
 protected:
  ServiceSecretsTest() {
    dir_ = testing::TempDir() + "/identity_XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    ca_file_ = dir_ + "/ca.pem";
  }

  void WriteCa(const std::string& text) const {
    std::ofstream(ca_file_) << text;
  }

  static options::ServiceOptions Plain(const std::string& name) {
    options::ServiceOptions options;
    options.name = name;
    return options;
  }
  options::ServiceOptions WithTls(const std::string& name) const {
    options::ServiceOptions options = Plain(name);
    options.tls = options::TlsOptions();
    options.tls->ca_file = ca_file_;
    return options;
  }
  static options::MeshOptions Of(
      std::initializer_list<options::ServiceOptions> services) {
    options::MeshOptions options;
    for (const options::ServiceOptions& service : services) {
      options.services[service.name] =
          std::make_shared<const options::ServiceOptions>(service);
    }
    return options;
  }

  std::string dir_;
  std::string ca_file_;
};

TEST_F(ServiceSecretsTest, ServicesWithoutTlsShareThePlainCredentials) {
  const ServiceSecrets source({});
  const auto one = source.SecretsFor(Plain("one"), nullptr);
  const auto two = source.SecretsFor(Plain("two"), nullptr);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->credentials, source.insecure());
  EXPECT_EQ(two->credentials, source.insecure());
  EXPECT_FALSE(one->tls.has_value());
}

TEST_F(ServiceSecretsTest, TlsOfModePlaintextIsPlaintext) {
  const ServiceSecrets source({});
  options::ServiceOptions service = Plain("cart");
  service.tls = options::TlsOptions();
  service.tls->mode = options::TlsOptions::Mode::kPlaintext;
  const auto secrets = source.SecretsFor(service, nullptr);
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_EQ(secrets->credentials, source.insecure());
  EXPECT_FALSE(secrets->tls.has_value());
}

TEST_F(ServiceSecretsTest, WhatIsGivenInCodeGoesBeforeTheFiles) {
  const Credentials given = grpc::InsecureChannelCredentials();
  const ServiceSecrets source({{"cart", given}});
  // The file does not exist, and is not read.
  const auto secrets = source.SecretsFor(WithTls("cart"), nullptr);
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_EQ(secrets->credentials, given);
  EXPECT_FALSE(secrets->tls.has_value());
}

TEST_F(ServiceSecretsTest, NullGivenInCodeIsNothingGiven) {
  const ServiceSecrets source({{"cart", nullptr}});
  const auto secrets = source.SecretsFor(Plain("cart"), nullptr);
  ASSERT_TRUE(secrets.ok());
  EXPECT_EQ(secrets->credentials, source.insecure());
}

TEST_F(ServiceSecretsTest, TheSameFilesGiveTheSameCredentials) {
  WriteCa(kOne);
  const ServiceSecrets source({});
  const auto first = source.SecretsFor(WithTls("cart"), nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->tls.has_value());
  EXPECT_EQ(first->tls->pem_root_certs, kOne);

  const auto again = source.SecretsFor(WithTls("cart"), &*first);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->credentials, first->credentials);

  WriteCa(kOther);
  const auto changed = source.SecretsFor(WithTls("cart"), &*first);
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->credentials, first->credentials);
  EXPECT_EQ(changed->tls->pem_root_certs, kOther);
}

TEST_F(ServiceSecretsTest, FilesAfterPlaintextAreNewCredentials) {
  WriteCa(kOne);
  const ServiceSecrets source({});
  const auto plain = source.SecretsFor(Plain("cart"), nullptr);
  ASSERT_TRUE(plain.ok());
  const auto tls = source.SecretsFor(WithTls("cart"), &*plain);
  ASSERT_TRUE(tls.ok()) << tls.status();
  EXPECT_NE(tls->credentials, plain->credentials);
  const auto back = source.SecretsFor(Plain("cart"), &*tls);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->credentials, source.insecure());
}

TEST_F(ServiceSecretsTest, AllServicesKeepWhatHasNotChanged) {
  WriteCa(kOne);
  const ServiceSecrets source({});
  const auto before =
      source.SecretsForAll(Of({WithTls("cart"), Plain("stock")}), {});
  ASSERT_TRUE(before.ok()) << before.status();
  const auto after =
      source.SecretsForAll(Of({WithTls("cart"), WithTls("users")}), *before);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->size(), 2u);
  EXPECT_EQ(after->at("cart").credentials, before->at("cart").credentials);
  // Each service has its own, also where the files are the same.
  EXPECT_NE(after->at("users").credentials, before->at("cart").credentials);
}

TEST_F(ServiceSecretsTest, AnErrorNamesTheServiceAndTheFile) {
  const ServiceSecrets source({});
  const auto missing =
      source.SecretsForAll(Of({Plain("a"), WithTls("cart")}), {});
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(std::string(missing.status().message()),
              StartsWith("services.cart.tls: "));

  WriteCa("no certificate\n");
  const auto wrong = source.SecretsForAll(Of({WithTls("cart")}), {});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr(ca_file_));
}

}  // namespace
}  // namespace mesh::security
