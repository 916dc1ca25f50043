#include "tests/attacks/renegotiation.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "openssl/core_names.h"
#include "openssl/evp.h"
#include "openssl/kdf.h"

namespace mesh::test {
namespace {

constexpr size_t kRandomSize = 32;
constexpr size_t kKeySize = 16;
constexpr size_t kSaltSize = 4;
constexpr size_t kTagSize = 16;
constexpr size_t kVerifySize = 12;

unsigned char* Bytes(std::string* text) {
  return reinterpret_cast<unsigned char*>(text->data());
}

void Check(bool done) {
  if (done) return;
  std::fprintf(stderr, "no renegotiation can be made\n");
  std::abort();
}

std::string BigEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) {
    text += static_cast<char>(value >> (8 * i));
  }
  return text;
}

// `text` behind its length in so many bytes.
std::string Sized(int bytes, absl::string_view text) {
  return absl::StrCat(BigEndian(text.size(), bytes), text);
}

std::string ExtensionOf(uint16_t type, absl::string_view content) {
  return absl::StrCat(BigEndian(type, 2), Sized(2, content));
}

// RFC 5246, 6.3: the first 40 bytes are two keys and two salts.
std::string KeyBlock(SSL* ssl) {
  std::string secret(48, '\0');
  std::string seed = absl::StrCat("key expansion", std::string(64, '\0'));
  const size_t label = seed.size() - 2 * kRandomSize;
  SSL_SESSION_get_master_key(SSL_get_session(ssl), Bytes(&secret),
                             secret.size());
  SSL_get_server_random(ssl, Bytes(&seed) + label, kRandomSize);
  SSL_get_client_random(ssl, Bytes(&seed) + label + kRandomSize, kRandomSize);
  EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, "TLS1-PRF", nullptr);
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(kdf);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, secret.data(),
                                        secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed.data(),
                                        seed.size()),
      OSSL_PARAM_construct_end()};
  std::string block(2 * (kKeySize + kSaltSize), '\0');
  Check(EVP_KDF_derive(context, Bytes(&block), block.size(), parameters) == 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return block;
}

std::string Hello(SSL* ssl, bool drop) {
  std::string verify(kVerifySize, '\0');
  Check(SSL_get_finished(ssl, verify.data(), verify.size()) == kVerifySize);
  constexpr uint16_t kSignatureAlgorithms = 13;
  constexpr uint16_t kSignatureAlgorithmsCert = 50;
  const std::string algorithms = Sized(2, "\x04\x03");  // P-256 with SHA-256.
  const std::string extensions = absl::StrCat(
      ExtensionOf(0xff01, Sized(1, verify)),  // renegotiation_info
      ExtensionOf(10, Sized(2, absl::string_view("\0\x17", 2))),  // P-256
      ExtensionOf(23, ""),  // extended_master_secret
      ExtensionOf(drop ? kSignatureAlgorithmsCert : kSignatureAlgorithms,
                  algorithms));
  const std::string body =
      absl::StrCat("\x03\x03", std::string(kRandomSize, 'r'), Sized(1, ""),
                   Sized(2, "\xc0\x2b"), Sized(1, absl::string_view("\0", 1)),
                   Sized(2, extensions));
  return absl::StrCat("\x01", Sized(3, body));
}

}  // namespace

std::string RenegotiationHello(SSL* ssl, bool drop) {
  Check(SSL_version(ssl) == TLS1_2_VERSION &&
        absl::string_view(SSL_get_cipher_name(ssl)) ==
            "ECDHE-ECDSA-AES128-GCM-SHA256");
  std::string block = KeyBlock(ssl);
  std::string hello = Hello(ssl, drop);
  // RFC 5288. The client's Finished had the number 0.
  const std::string number = BigEndian(1, 8);
  std::string nonce =
      absl::StrCat(block.substr(2 * kKeySize, kSaltSize), number);
  std::string header = absl::StrCat(number, "\x16\x03\x03", Sized(2, hello))
                           .substr(0, 8 + 3 + 2);
  std::string sealed(hello.size(), '\0');
  std::string tag(kTagSize, '\0');
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  int size = 0;
  Check(EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), nullptr, Bytes(&block),
                           Bytes(&nonce)) == 1 &&
        EVP_EncryptUpdate(context, nullptr, &size, Bytes(&header),
                          static_cast<int>(header.size())) == 1 &&
        EVP_EncryptUpdate(context, Bytes(&sealed), &size, Bytes(&hello),
                          static_cast<int>(hello.size())) == 1 &&
        EVP_EncryptFinal_ex(context, Bytes(&tag), &size) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagSize,
                            tag.data()) == 1);
  EVP_CIPHER_CTX_free(context);
  return absl::StrCat("\x16\x03\x03",
                      Sized(2, absl::StrCat(number, sealed, tag)));
}

}  // namespace mesh::test
