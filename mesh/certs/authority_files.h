#ifndef MESH_CERTS_AUTHORITY_FILES_H_
#define MESH_CERTS_AUTHORITY_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mesh/certs/authority.h"

// One authority is one directory: ca.crt (its certificate, then those up to the
// root), ca.key, and once it has revoked something or been told to, crl.pem and
// `revoked`. What a process is given is another directory: tls.crt, tls.key,
// ca.crt (whom it trusts) and crl.pem.
namespace mesh::certs {

// Errors name the file.
absl::Status SaveAuthority(const std::string& directory,
                           const Authority& authority);
absl::StatusOr<Authority> LoadAuthority(const std::string& directory);

// What an authority has revoked so far.
struct Revoked {
  int64_t number = 0;  // How many lists it has made.
  std::vector<std::string> serials;
};
absl::StatusOr<Revoked> LoadRevoked(const std::string& directory);
// Writes the list, then what it was made of.
absl::Status SaveCrl(const std::string& directory, const std::string& pem,
                     const Revoked& revoked);

// Writes the leaf's files, the key first. So whoever sees the new certificate
// finds its key.
absl::Status SaveIssued(const std::string& directory, const Issued& issued);
// Makes `directory` trust the roots of `authorities` and know their lists, and
// nothing else. Lists of all come first, so that none is missing.
absl::Status SaveTrust(const std::string& directory,
                       const std::vector<std::string>& authorities);

// The serial number of the first certificate of a file, in hex.
absl::StatusOr<std::string> SerialOf(const std::string& path);

}  // namespace mesh::certs

#endif  // MESH_CERTS_AUTHORITY_FILES_H_
