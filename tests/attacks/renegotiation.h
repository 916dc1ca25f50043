#ifndef MESH_TESTS_ATTACKS_RENEGOTIATION_H_
#define MESH_TESTS_ATTACKS_RENEGOTIATION_H_

#include <string>

#include "openssl/ssl.h"

namespace mesh::test {

// The record by which a client begins a renegotiation (RFC 5746): a ClientHello
// under the keys of `ssl`. That is a TLS 1.2 connection with
// ECDHE-ECDSA-AES128-GCM-SHA256, over which the client has sent nothing yet,
// and may send nothing by OpenSSL afterwards.
//
// `drop`: it has signature_algorithms_cert, and no signature_algorithms, which
// the first ClientHello had (CVE-2021-3449).
std::string RenegotiationHello(SSL* ssl, bool drop);

}  // namespace mesh::test

#endif  // MESH_TESTS_ATTACKS_RENEGOTIATION_H_
