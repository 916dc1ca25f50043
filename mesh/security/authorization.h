#ifndef MESH_SECURITY_AUTHORIZATION_H_
#define MESH_SECURITY_AUTHORIZATION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "mesh/options/security.h"
#include "mesh/security/peer.h"

namespace mesh::security {

// One header of a call, as it came. A name that came twice stands there twice.
struct Header {
  absl::string_view name;
  absl::string_view value;
};

enum class RuleList : uint8_t { kNone, kDeny, kAllow };

// Why a call is admitted or refused.
enum class Reason : uint8_t {
  // Admitted.
  kNoRules,  // There are none.
  kNoAllow,  // No rule of `deny` matches, and `allow` is empty.
  kAllowed,  // A rule of `allow` matches.
  // Refused.
  kDenied,      // A rule of `deny` matches.
  kNotAllowed,  // No rule of `allow` matches.
  kBadPath,     // The path is none that a rule could be about.
  kBadHeader,   // A rule has headers, and the name of one is no name.
  kPlaintext,   // The caller has no TLS, and the mode is strict.
};

// What becomes of a call.
struct Decision {
  bool allowed = true;
  // The call would be refused, and is admitted because this is only counted.
  bool observed = false;
  // The rule that matched, and its place in its list. kNone and -1: none did.
  RuleList list = RuleList::kNone;
  int rule = -1;
  Reason reason = Reason::kNoRules;

  bool operator==(const Decision& o) const {
    return allowed == o.allowed && observed == o.observed && list == o.list &&
           rule == o.rule && reason == o.reason;
  }
};

// The service and the method of a path, "/package.Service/Method". Both have at
// least one byte, and only bytes of [A-Za-z0-9_.]. False: `path` is no such
// path. A proxy or a handler might read that path in another way than a rule
// does (CVE-2026-33186 of grpc-go).
bool SplitPath(absl::string_view path, absl::string_view* service,
               absl::string_view* method);

// The rules of a server, compiled. Decides who may call what, and does nothing
// else. Immutable, so any number of threads may ask at once.
//
// `deny` comes first, then `allow`; an empty `allow` admits every caller that
// no rule denies. Names, headers and peers are compared as bytes. A header that
// came several times, or as a list with commas, has several values. A rule of
// `deny` matches if any value does, a rule of `allow` only if all do
// (CVE-2026-31838 of Istio). A header that is absent matches only `absent`.
//
// gRPC hands on names that HTTP/2 forbids (RFC 9113, 8.2.1), such as "X-Role".
// No rule can be about one, and who reads it may take it for "x-role". So where
// a rule has headers, a call with such a name is refused.
class Authorization {
 public:
  // The most rules in one list.
  static constexpr size_t kMaxRules = 1000;

  // INVALID_ARGUMENT has a line for each thing that is wrong (see
  // RuleProblems() in rule_check.h), and each begins with the field's path.
  static absl::StatusOr<std::shared_ptr<const Authorization>> Make(
      options::ServerOptions options);

  Authorization(const Authorization&) = delete;
  Authorization& operator=(const Authorization&) = delete;

  // `peer` is verified or has no TLS; `path` is the call's :path. Allocates
  // nothing. Rules are found by peer, method and header, so the time grows
  // hardly with their number.
  Decision Decide(const Peer& peer, absl::string_view path,
                  absl::Span<const Header> headers) const;

  // Whether any rule has headers. If not, Decide() needs none.
  bool reads_headers() const { return reads_headers_; }
  // What it was made of.
  const options::ServerOptions& options() const { return options_; }

 private:
  // A bit for each rule: first those of `deny`, then those of `allow`, which
  // begin with a word of their own.
  using Set = std::vector<uint64_t>;
  struct TextHash {
    size_t operator()(absl::string_view text) const {
      return std::hash<std::string_view>()({text.data(), text.size()});
    }
  };
  template <typename T>
  using Index = std::unordered_map<absl::string_view, T, TextHash>;
  static constexpr size_t kWordsOfList = (kMaxRules + 63) / 64;
  static constexpr size_t kMaxWords = 2 * kWordsOfList;

  explicit Authorization(options::ServerOptions options);

  void Compile(const options::Rule& rule, RuleList list, size_t index);
  void CompilePeer(const std::string& text, size_t bit);
  void CompileHeaders(const options::Rule& rule, size_t bit);
  void Add(Set* set, size_t bit) const;
  void AddTo(uint64_t* found, const Set& set) const {
    for (size_t i = 0; i < words_; ++i) found[i] |= set[i];
  }

  // Adds the rules that `peer` matches to `found`.
  void FindByPeer(const Peer& peer, uint64_t* found) const;
  // Leaves those in `found` that the method matches...
  void KeepByMethod(absl::string_view service, absl::string_view method_path,
                    uint64_t* found) const;
  // ...and those whose key is there.
  void KeepByHeader(absl::Span<const Header> headers, uint64_t* found) const;
  // The first rule of `list` in `found` whose headers match. -1: none.
  int FirstMatch(RuleList list, const uint64_t* found,
                 absl::Span<const Header> headers) const;
  Decision Refused(const Peer& peer, Reason reason, RuleList list,
                   int rule) const;

  // Constant after construction.
  const options::ServerOptions options_;  // Keys below are views of its texts.
  const size_t deny_words_;
  const size_t words_;
  bool reads_headers_ = false;

  Set any_peer_;
  Set plaintext_;
  Index<Set> ids_;    // Exact SPIFFE IDs.
  Index<Set> below_;  // "spiffe://prod/shop/", for all that begin with it.
  std::set<size_t> below_sizes_;  // How long those keys are.
  std::map<std::string, Set, std::less<>> dns_names_;  // In lower case.

  Set any_method_;
  Index<Set> methods_;   // "a.B/C"
  Index<Set> services_;  // "a.B"

  // Each rule that wants a header to be there has one as its key, so that calls
  // without that find it no more. One with an exact value is best.
  struct Keys {
    Set any_value;
    Index<Set> values;
  };
  Set no_key_;
  Index<Keys> keys_;  // By name.
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_AUTHORIZATION_H_
