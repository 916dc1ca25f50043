#ifndef MESH_OPTIONS_SECURITY_H_
#define MESH_OPTIONS_SECURITY_H_

#include <string>

namespace mesh::options {

struct TlsOptions {
  std::string ca_file;  // Empty: the system's authorities.
  std::string cert_file;
  std::string key_file;

  bool operator==(const TlsOptions& o) const {
    return ca_file == o.ca_file && cert_file == o.cert_file &&
           key_file == o.key_file;
  }
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_SECURITY_H_
