#include "tests/attacks/key_bytes.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "grpc/support/log.h"
#include "gtest/gtest.h"
#include "mesh/security/crypto_ptr.h"
#include "openssl/core_names.h"
#include "openssl/pem.h"

namespace mesh::test {
namespace {

using security::BignumPtr;

// Each piece of 16 bytes has a whole window of 8, and each window of base64
// stands for 6 bytes at a multiple of 3.
constexpr size_t kWindow = 8;
constexpr size_t kBase64Window = 6;

// The numbers of a key that only its owner knows, as bytes.
std::vector<std::string> SecretsOf(EVP_PKEY* key) {
  std::vector<std::string> secrets;
  size_t size = 0;
  if (EVP_PKEY_get_raw_private_key(key, nullptr, &size) == 1) {  // Ed25519.
    std::string raw(size, '\0');
    EVP_PKEY_get_raw_private_key(
        key, reinterpret_cast<unsigned char*>(raw.data()), &size);
    secrets.push_back(std::move(raw));
  }
  for (const char* const name :
       {OSSL_PKEY_PARAM_PRIV_KEY, OSSL_PKEY_PARAM_RSA_D,
        OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
        OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
        OSSL_PKEY_PARAM_RSA_COEFFICIENT1}) {
    BIGNUM* number = nullptr;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1) continue;
    const BignumPtr owned(number);
    std::string bytes(BN_num_bytes(number), '\0');
    BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
    secrets.push_back(std::move(bytes));
  }
  ERR_clear_error();  // A key has not all of them.
  return secrets;
}

// Without all that may stand between two bytes of a key.
std::string Squeezed(absl::string_view text) {
  std::string squeezed;
  for (const char c : absl::StrReplaceAll(text, {{"\\n", ""}, {"\\r", ""}})) {
    if (c != ':' && !absl::ascii_isspace(static_cast<unsigned char>(c))) {
      squeezed += c;
    }
  }
  return squeezed;
}

bool HasAny(absl::string_view text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (absl::StrContains(text, part)) return true;
  }
  return false;
}

void LogToOutputs(gpr_log_func_args* args) {
  Outputs::OfProcess().Add(args->message);
  std::fprintf(stderr, "%s\n", args->message);
}

class NoLeaks final : public testing::Environment {
 public:
  void TearDown() override {
    for (const std::string& leak : Outputs::OfProcess().Leaks()) {
      ADD_FAILURE() << leak;
    }
  }
};

}  // namespace

KeyBytes::KeyBytes(absl::string_view pem) {
  const security::BioPtr bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const security::KeyPtr key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (key == nullptr) {
    std::fprintf(stderr, "a test gives no private key\n");
    std::abort();
  }
  for (const std::string& secret : SecretsOf(key.get())) {
    for (size_t i = 0; i + kWindow <= secret.size(); i += kWindow) {
      const std::string window = secret.substr(i, kWindow);
      raw_.push_back(window);
      hex_.push_back(absl::BytesToHexString(window));
    }
    // Base64 stands for three bytes at a time, so there are three ways to cut.
    for (size_t cut = 0; cut < 3; ++cut) {
      for (size_t i = cut; i + kBase64Window <= secret.size();
           i += kBase64Window) {
        const std::string window = secret.substr(i, kBase64Window);
        base64_.push_back(absl::Base64Escape(window));
        base64_.push_back(absl::WebSafeBase64Escape(window));
      }
    }
  }
}

std::string KeyBytes::FoundIn(absl::string_view text) const {
  if (HasAny(text, raw_)) return "raw";
  const std::string squeezed = Squeezed(text);
  if (HasAny(absl::AsciiStrToLower(squeezed), hex_)) return "hex";
  if (HasAny(squeezed, base64_)) return "base64";
  return "";
}

Outputs& Outputs::OfProcess() {
  static auto* const outputs = new Outputs;
  return *outputs;
}

void Outputs::AddKey(absl::string_view pem) {
  KeyBytes key(pem);
  base::MutexLock lock(&mu_);
  keys_.push_back(std::move(key));
}

void Outputs::Add(absl::string_view text) {
  if (text.empty()) return;
  base::MutexLock lock(&mu_);
  texts_.emplace_back(text);
}

size_t Outputs::size() const {
  base::MutexLock lock(&mu_);
  return texts_.size();
}

std::vector<std::string> Outputs::Leaks() const {
  base::MutexLock lock(&mu_);
  std::vector<std::string> leaks;
  for (size_t i = 0; i < texts_.size(); ++i) {
    for (const KeyBytes& key : keys_) {
      const std::string how = key.FoundIn(texts_[i]);
      if (how.empty()) continue;
      leaks.push_back(absl::StrCat("text ", i + 1, " of ", texts_[i].size(),
                                   " bytes has bytes of a key: ", how));
    }
  }
  return leaks;
}

void WatchOutputs() {
  gpr_set_log_function(&LogToOutputs);
  testing::AddGlobalTestEnvironment(new NoLeaks);
}

}  // namespace mesh::test
