// The meaning of rules, written as plainly as it can be, for tests: what
// Authorization decides is held against it.

#ifndef MESH_SECURITY_AUTHORIZATION_TEST_UTIL_H_
#define MESH_SECURITY_AUTHORIZATION_TEST_UTIL_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mesh/options/security.h"
#include "mesh/security/authorization.h"
#include "mesh/security/peer.h"
#include "mesh/security/peer_pattern.h"

namespace mesh::security {

// A call, with what it needs to live.
struct TestCall {
  Peer peer;
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers;

  std::vector<Header> Headers() const {
    std::vector<Header> all;
    for (const auto& [name, value] : headers) all.push_back({name, value});
    return all;
  }
};

class AuthorizationReference {
 public:
  explicit AuthorizationReference(options::ServerOptions options)
      : options_(std::move(options)) {}

  Decision Decide(const TestCall& call) const {
    if (call.peer.plaintext && options_.mode == options::ServerMode::kStrict) {
      return {false, false, RuleList::kNone, -1, Reason::kPlaintext};
    }
    if (options_.deny.empty() && options_.allow.empty()) return {};
    const bool observe = options_.rules == options::Mode::kObserve;
    const std::vector<std::string> parts = absl::StrSplit(call.path, '/');
    if (parts.size() != 3 || !parts[0].empty() || !IsName(parts[1]) ||
        !IsName(parts[2])) {
      return {observe, observe, RuleList::kNone, -1, Reason::kBadPath};
    }
    if (ReadsHeaders() && !HasGoodNames(call)) {
      return {observe, observe, RuleList::kNone, -1, Reason::kBadHeader};
    }
    for (size_t i = 0; i < options_.deny.size(); ++i) {
      if (!Matches(options_.deny[i], call, parts, /*any=*/true)) continue;
      return {observe, observe, RuleList::kDeny, static_cast<int>(i),
              Reason::kDenied};
    }
    if (options_.allow.empty()) {
      return {true, false, RuleList::kNone, -1, Reason::kNoAllow};
    }
    for (size_t i = 0; i < options_.allow.size(); ++i) {
      if (!Matches(options_.allow[i], call, parts, /*any=*/false)) continue;
      return {true, false, RuleList::kAllow, static_cast<int>(i),
              Reason::kAllowed};
    }
    const bool counted =
        observe || (call.peer.plaintext &&
                    options_.mode == options::ServerMode::kPermissive);
    return {counted, counted, RuleList::kNone, -1, Reason::kNotAllowed};
  }

 private:
  static bool IsName(const std::string& text) {
    static constexpr char kBytes[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    return !text.empty() && text.find_first_not_of(kBytes) == std::string::npos;
  }

  bool ReadsHeaders() const {
    const auto reads = [](const options::Rule& rule) {
      return !rule.headers.empty();
    };
    return std::any_of(options_.deny.begin(), options_.deny.end(), reads) ||
           std::any_of(options_.allow.begin(), options_.allow.end(), reads);
  }

  static bool HasGoodNames(const TestCall& call) {
    for (const auto& [name, value] : call.headers) {
      if (name.empty() || name == ":") return false;
      for (size_t i = 0; i < name.size(); ++i) {
        const char c = name[i];
        if (c <= ' ' || c > '~' || (c >= 'A' && c <= 'Z')) return false;
        if (c == ':' && i > 0) return false;
      }
    }
    return true;
  }

  static bool Matches(const options::Rule& rule, const TestCall& call,
                      const std::vector<std::string>& parts, bool any) {
    bool from = rule.from.empty();
    for (const std::string& text : rule.from) {
      from = from || (call.peer.plaintext
                          ? text == "plaintext"
                          : text != "plaintext" &&
                                PeerPattern::Parse(text)->Matches(call.peer));
    }
    bool method = rule.methods.empty();
    for (const std::string& text : rule.methods) {
      method = method || text == absl::StrCat(parts[1], "/", parts[2]) ||
               text == absl::StrCat(parts[1], "/*");
    }
    return from && method &&
           std::all_of(rule.headers.begin(), rule.headers.end(),
                       [&](const options::HeaderMatch& match) {
                         return Matches(match, call, any);
                       });
  }

  static std::string Trimmed(const std::string& text) {
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string::npos) return "";
    return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
  }

  static bool Matches(const options::HeaderMatch& match, const TestCall& call,
                      bool any) {
    using Kind = options::HeaderMatch::Kind;
    int present = 0, good = 0, bad = 0;
    for (const auto& [name, text] : call.headers) {
      if (name != match.name) continue;
      ++present;
      // Blanks around a whole field are against HTTP/2.
      if (Trimmed(text) != text) ++bad;
      for (const std::string& part :
           std::vector<std::string>(absl::StrSplit(text, ','))) {
        const std::string value = Trimmed(part);
        const bool matches = match.kind == Kind::kExact
                                 ? value == match.value
                                 : absl::StartsWith(value, match.value);
        ++(matches ? good : bad);
      }
    }
    switch (match.kind) {
      case Kind::kPresent:
        return present > 0;
      case Kind::kAbsent:
        return present == 0;
      default:
        return any ? good > 0 : present > 0 && bad == 0;
    }
  }

  const options::ServerOptions options_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_AUTHORIZATION_TEST_UTIL_H_
