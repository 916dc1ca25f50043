#ifndef MESH_SECURITY_CRYPTO_PTR_H_
#define MESH_SECURITY_CRYPTO_PTR_H_

#include <memory>

#include "openssl/asn1.h"
#include "openssl/bio.h"
#include "openssl/bn.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/x509.h"
#include "openssl/x509_vfy.h"
#include "openssl/x509v3.h"

// Objects of OpenSSL that free themselves.

namespace mesh::security {

template <auto kFree>
struct CryptoFree {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

// A stack that does not own what it holds.
struct StackFree {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};

using BignumPtr = std::unique_ptr<BIGNUM, CryptoFree<BN_free>>;
using BioPtr = std::unique_ptr<BIO, CryptoFree<BIO_free>>;
using CrlPtr = std::unique_ptr<X509_CRL, CryptoFree<X509_CRL_free>>;
using GeneralNamesPtr =
    std::unique_ptr<GENERAL_NAMES, CryptoFree<GENERAL_NAMES_free>>;
using IntegerPtr = std::unique_ptr<ASN1_INTEGER, CryptoFree<ASN1_INTEGER_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, CryptoFree<EVP_PKEY_free>>;
using StoreContextPtr =
    std::unique_ptr<X509_STORE_CTX, CryptoFree<X509_STORE_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, CryptoFree<X509_free>>;
using X509StackPtr = std::unique_ptr<STACK_OF(X509), StackFree>;

// Takes back what OpenSSL reports on this thread while it lives. Errors from
// before stay: gRPC may still want to read them.
class ErrorMark {
 public:
  ErrorMark() { ERR_set_mark(); }
  ~ErrorMark() { ERR_pop_to_mark(); }
  ErrorMark(const ErrorMark&) = delete;
  ErrorMark& operator=(const ErrorMark&) = delete;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_CRYPTO_PTR_H_
