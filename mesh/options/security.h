#ifndef MESH_OPTIONS_SECURITY_H_
#define MESH_OPTIONS_SECURITY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "mesh/options/mode.h"

// Who this process is, whom it calls and who may call it, as plain values.
// Names of peers are texts: mesh/security/peer_pattern.h says what they match.

namespace mesh::options {

// Whether a peer whose certificates are on no list is admitted, where the list
// of an issuer is missing or has expired.
enum class CrlMode : uint8_t {
  kDefault,    // kRequire once the identity has had a list; otherwise no look.
  kRequire,    // The peer is refused.
  kIfPresent,  // The peer is admitted, and that is counted.
};

// The files of an identity. Paths are complete.
struct IdentityFiles {
  std::string cert;  // Empty: this process shows nothing.
  std::string key;   // Empty exactly when `cert` is.
  std::string ca;    // Empty: only `bundles` say whom to trust.
  std::vector<std::string> crl;
  // A file with the authorities of each trust domain, by its name ("prod").
  std::map<std::string, std::string> bundles;

  bool operator==(const IdentityFiles& o) const {
    return cert == o.cert && key == o.key && ca == o.ca && crl == o.crl &&
           bundles == o.bundles;
  }
};

// An agent with the SPIFFE Workload API.
struct SpiffeSource {
  std::string socket;  // Empty: what SPIFFE_ENDPOINT_SOCKET says.
  // Which of several SVIDs counts, by ID or by hint. Both empty: the first.
  std::string id;
  std::string hint;

  bool operator==(const SpiffeSource& o) const {
    return socket == o.socket && id == o.id && hint == o.hint;
  }
};

// Where an identity comes from. std::monostate: the application gives it.
using IdentitySourceOptions =
    std::variant<std::monostate, IdentityFiles, SpiffeSource>;

struct IdentityOptions {
  IdentitySourceOptions source;
  // How long calls wait for the first identity of an agent.
  absl::Duration start_timeout = absl::Seconds(10);
  // In which time a renewal replaces all older connections. Absent: 30 s or a
  // tenth of the certificate's lifetime, the less.
  std::optional<absl::Duration> spread;
  // The peer of each service that has no `tls` of its own. "{service}" stands
  // for its name. Empty: such a service is called in plaintext.
  std::string peer;

  bool operator==(const IdentityOptions& o) const {
    return source == o.source && start_timeout == o.start_timeout &&
           spread == o.spread && peer == o.peer;
  }
};

// How the connections to a service are secured.
struct TlsOptions {
  enum class Mode : uint8_t { kTls, kPlaintext };

  Mode mode = Mode::kTls;
  // The service's own files. All are empty where the process's identity counts.
  std::string ca_file;  // Empty: the system's authorities.
  std::string cert_file;
  std::string key_file;
  // Peer patterns; the server must match one. Empty: the server's certificate
  // must be for the service's authority.
  std::vector<std::string> peer;
  CrlMode crl = CrlMode::kDefault;

  bool operator==(const TlsOptions& o) const {
    return mode == o.mode && ca_file == o.ca_file && cert_file == o.cert_file &&
           key_file == o.key_file && peer == o.peer && crl == o.crl;
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
  CrlMode crl = CrlMode::kDefault;

  bool operator==(const ServerOptions& o) const {
    return mode == o.mode && allow == o.allow && deny == o.deny &&
           rules == o.rules && crl == o.crl;
  }
};

}  // namespace mesh::options

#endif  // MESH_OPTIONS_SECURITY_H_
