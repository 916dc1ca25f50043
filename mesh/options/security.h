#ifndef MESH_OPTIONS_SECURITY_H_
#define MESH_OPTIONS_SECURITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "mesh/options/mode.h"

// How a service is called and who may call this process, as plain values.
// Names of peers are texts: mesh/security/peer_pattern.h says what they match.

namespace mesh::options {

// Whether a peer whose certificates are on no list is admitted, where the list
// of an issuer is missing or has expired.
enum class CrlMode : uint8_t {
  kDefault,    // kRequire once the identity has any list; otherwise no look.
  kRequire,    // The peer is refused.
  kIfPresent,  // The peer is admitted, and that is counted.
};

// How the connections to a service are secured.
struct TlsOptions {
  std::string ca_file;  // Empty: the system's authorities.
  std::string cert_file;
  std::string key_file;

  bool operator==(const TlsOptions& o) const {
    return ca_file == o.ca_file && cert_file == o.cert_file &&
           key_file == o.key_file;
  }
};

// What a rule wants of one header.
struct HeaderMatch {
  enum class Kind : uint8_t { kExact, kPrefix, kPresent, kAbsent };

  std::string name;  // Lower case, as HTTP/2 has it.
  Kind kind = Kind::kPresent;
  std::string value;  // For kExact and kPrefix.

  bool operator==(const HeaderMatch& o) const {
    return name == o.name && kind == o.kind && value == o.value;
  }
};

// Matches a call when each of its parts does. An empty part matches any call.
// A rule with three empty parts is an error.
struct Rule {
  // Peer patterns or "plaintext"; one must match.
  std::vector<std::string> from;
  // "package.Service/Method" or "package.Service/*"; one must match.
  std::vector<std::string> methods;
  // All must match.
  std::vector<HeaderMatch> headers;

  bool operator==(const Rule& o) const {
    return from == o.from && methods == o.methods && headers == o.headers;
  }
};

enum class ServerMode : uint8_t {
  kStrict,      // Only verified peers.
  kPermissive,  // Verified peers, and plaintext on the same port.
  kPlaintext,   // Plaintext only.
};

// Who may call what this process serves.
struct ServerOptions {
  ServerMode mode = ServerMode::kStrict;
  // `deny` comes first. An empty `allow` admits every verified peer.
  std::vector<Rule> allow;
  std::vector<Rule> deny;
  // kEnforce, or kObserve: what the rules would refuse is only counted.
  Mode rules = Mode::kEnforce;

  bool operator==(const ServerOptions& o) const {
    return mode == o.mode && allow == o.allow && deny == o.deny &&
           rules == o.rules;
  }
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_SECURITY_H_
