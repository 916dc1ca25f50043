#ifndef MESH_BENCHMARKS_OVERHEAD_TLS_FILES_H_
#define MESH_BENCHMARKS_OVERHEAD_TLS_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The files that arms with mutual TLS have.

namespace mesh::benchmarks {

// The SPIFFE IDs and the DNS name of the certificates.
inline constexpr char kEchoId[] = "spiffe://bench/echo";
inline constexpr char kEchoDnsName[] = "echo.test";

// Writes to `directory` ca.crt, and for the server "echo" and the clients
// "caller" and "stranger" NAME.crt and NAME.key. listen.yaml is a configuration
// for Mesh::Listen() as "echo": 100 rules, of which the last one is for
// "caller", and none for "stranger".
absl::Status WriteTlsFiles(const std::string& directory);

// What a process shows and whom it trusts: PEM.
struct TlsTexts {
  std::string chain;
  std::string key;
  std::string bundle;
};
// From DIRECTORY/NAME.crt, .key and DIRECTORY/ca.crt; `base` is DIRECTORY/NAME.
absl::StatusOr<TlsTexts> ReadTlsFiles(const std::string& base);
// DIRECTORY/ca.crt.
std::string BundleFile(absl::string_view base);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERHEAD_TLS_FILES_H_
