#include "mesh/security/identity.h"

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

class IdentityTest : public testing::Test {
 protected:
  IdentityTest() {
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

TEST_F(IdentityTest, ServicesWithoutTlsShareThePlainCredentials) {
  const Identity identity({});
  const auto one = identity.SecretsFor(Plain("one"), nullptr);
  const auto two = identity.SecretsFor(Plain("two"), nullptr);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->credentials, identity.insecure());
  EXPECT_EQ(two->credentials, identity.insecure());
  EXPECT_FALSE(one->tls.has_value());
}

TEST_F(IdentityTest, WhatIsGivenInCodeGoesBeforeTheFiles) {
  const Credentials given = grpc::InsecureChannelCredentials();
  const Identity identity({{"cart", given}});
  // The file does not exist, and is not read.
  const auto secrets = identity.SecretsFor(WithTls("cart"), nullptr);
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_EQ(secrets->credentials, given);
  EXPECT_FALSE(secrets->tls.has_value());
}

TEST_F(IdentityTest, NullGivenInCodeIsNothingGiven) {
  const Identity identity({{"cart", nullptr}});
  const auto secrets = identity.SecretsFor(Plain("cart"), nullptr);
  ASSERT_TRUE(secrets.ok());
  EXPECT_EQ(secrets->credentials, identity.insecure());
}

TEST_F(IdentityTest, TheSameFilesGiveTheSameCredentials) {
  WriteCa(kOne);
  const Identity identity({});
  const auto first = identity.SecretsFor(WithTls("cart"), nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(first->tls.has_value());
  EXPECT_EQ(first->tls->pem_root_certs, kOne);

  const auto again = identity.SecretsFor(WithTls("cart"), &*first);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->credentials, first->credentials);

  WriteCa(kOther);
  const auto changed = identity.SecretsFor(WithTls("cart"), &*first);
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->credentials, first->credentials);
  EXPECT_EQ(changed->tls->pem_root_certs, kOther);
}

TEST_F(IdentityTest, FilesAfterPlaintextAreNewCredentials) {
  WriteCa(kOne);
  const Identity identity({});
  const auto plain = identity.SecretsFor(Plain("cart"), nullptr);
  ASSERT_TRUE(plain.ok());
  const auto tls = identity.SecretsFor(WithTls("cart"), &*plain);
  ASSERT_TRUE(tls.ok()) << tls.status();
  EXPECT_NE(tls->credentials, plain->credentials);
  const auto back = identity.SecretsFor(Plain("cart"), &*tls);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->credentials, identity.insecure());
}

TEST_F(IdentityTest, AllServicesKeepWhatHasNotChanged) {
  WriteCa(kOne);
  const Identity identity({});
  const auto before =
      identity.SecretsForAll(Of({WithTls("cart"), Plain("stock")}), {});
  ASSERT_TRUE(before.ok()) << before.status();
  const auto after =
      identity.SecretsForAll(Of({WithTls("cart"), WithTls("users")}), *before);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->size(), 2u);
  EXPECT_EQ(after->at("cart").credentials, before->at("cart").credentials);
  // Each service has its own, also where the files are the same.
  EXPECT_NE(after->at("users").credentials, before->at("cart").credentials);
}

TEST_F(IdentityTest, AnErrorNamesTheServiceAndTheFile) {
  const Identity identity({});
  const auto missing =
      identity.SecretsForAll(Of({Plain("a"), WithTls("cart")}), {});
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(std::string(missing.status().message()),
              StartsWith("services.cart.tls: "));

  WriteCa("no certificate\n");
  const auto wrong = identity.SecretsForAll(Of({WithTls("cart")}), {});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr(ca_file_));
}

}  // namespace
}  // namespace mesh::security
