#ifndef MESH_SECURITY_SVID_RESPONSE_H_
#define MESH_SECURITY_SVID_RESPONSE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mesh/security/identity.h"

namespace mesh::security {

// Which of the SVIDs that an agent gives is meant. Both empty: the first.
struct SvidChoice {
  std::string id;    // Its SPIFFE ID.
  std::string hint;  // Its hint.
};

// An answer of the Workload API, read.
struct SvidResponse {
  std::string spiffe_id;  // As the agent says; the certificate must say so.
  IdentityBytes bytes;
};

// No answer is longer: a list of 100,000 entries has some 4 MiB.
inline constexpr size_t kMaxSvidResponse = 20 << 20;

// Reads the bytes of an X509SVIDResponse (workload.proto). INVALID_ARGUMENT:
// they are none, or a part is no DER of the right shape. NOT_FOUND: there is no
// SVID, or none that is meant. The bundle of the SVID goes under its trust
// domain. A foreign bundle that is empty is left out, so nobody of that domain
// is trusted. Whether the parts fit together is for Identity::Make() to say.
absl::StatusOr<SvidResponse> ReadSvidResponse(absl::string_view message,
                                              const SvidChoice& choice);

// Cuts `der`, which holds one DER SEQUENCE after another, and writes each in
// PEM with `label`. INVALID_ARGUMENT: it is cut off, or something else.
absl::StatusOr<std::string> PemOfDer(absl::string_view der,
                                     absl::string_view label);

}  // namespace mesh::security

#endif  // MESH_SECURITY_SVID_RESPONSE_H_
