#include "mesh/security/authorization.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/numeric/bits.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "mesh/security/rule_check.h"

namespace mesh::security {
namespace {

using options::HeaderMatch;

constexpr char kPlaintextPeer[] = "plaintext";

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

absl::string_view Trimmed(absl::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

bool ValueMatches(const HeaderMatch& match, absl::string_view value) {
  return match.kind == HeaderMatch::Kind::kExact
             ? value == match.value
             : absl::StartsWith(value, match.value);
}

// Calls `visit` for each value in `text`, a list with commas, until it returns
// false. RFC 9110, 5.5: the blanks around a value are no part of it.
template <typename Visit>
void ForEachValue(absl::string_view text, const Visit& visit) {
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    if (!visit(Trimmed(text.substr(0, comma))) || comma == text.size()) return;
    text.remove_prefix(comma + 1);
  }
}

// Whether any value in `text` matches (`any`), or each one. RFC 9113, 8.2.1:
// no blanks stand around a whole field, so no rule of `allow` admits them.
bool ListMatches(const HeaderMatch& match, absl::string_view text, bool any) {
  if (!any && Trimmed(text).size() != text.size()) return false;
  bool matches = !any;
  ForEachValue(text, [&](absl::string_view value) {
    matches = ValueMatches(match, value);
    return matches != any;
  });
  return matches;
}

bool HeaderMatches(const HeaderMatch& match, absl::Span<const Header> headers,
                   RuleList list) {
  const bool any = list == RuleList::kDeny;
  bool present = false;
  for (const Header& header : headers) {
    if (header.name != match.name) continue;
    present = true;
    switch (match.kind) {
      case HeaderMatch::Kind::kPresent:
        return true;
      case HeaderMatch::Kind::kAbsent:
        return false;
      case HeaderMatch::Kind::kExact:
      case HeaderMatch::Kind::kPrefix:
        if (ListMatches(match, header.value, any) == any) return any;
    }
  }
  if (match.kind == HeaderMatch::Kind::kAbsent) return true;
  return present && !any;
}

// DNS names are compared without the case of a-z (see PeerPattern).
constexpr size_t kMaxDnsName = 253;

constexpr std::array<bool, 256> PathBytes() {
  std::array<bool, 256> is = {};
  for (int c = 'a'; c <= 'z'; ++c) is[c] = true;
  for (int c = 'A'; c <= 'Z'; ++c) is[c] = true;
  for (int c = '0'; c <= '9'; ++c) is[c] = true;
  is['_'] = is['.'] = true;
  return is;
}

constexpr std::array<bool, 256> HeaderBytes() {
  std::array<bool, 256> is = {};
  for (int c = 0x21; c < 0x7f; ++c) is[c] = c != ':' && (c < 'A' || c > 'Z');
  return is;
}

// RFC 9113, 8.2.1 and 8.3.
bool IsHeaderName(absl::string_view text) {
  static constexpr std::array<bool, 256> kIs = HeaderBytes();
  absl::ConsumePrefix(&text, ":");
  for (const char c : text) {
    if (!kIs[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

bool IsName(absl::string_view text) {
  static constexpr std::array<bool, 256> kIs = PathBytes();
  for (const char c : text) {
    if (!kIs[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

}  // namespace

bool SplitPath(absl::string_view path, absl::string_view* service,
               absl::string_view* method) {
  if (!absl::ConsumePrefix(&path, "/")) return false;
  const size_t slash = path.find('/');
  if (slash == absl::string_view::npos) return false;
  *service = path.substr(0, slash);
  *method = path.substr(slash + 1);
  return IsName(*service) && IsName(*method);
}

absl::StatusOr<std::shared_ptr<const Authorization>> Authorization::Make(
    options::ServerOptions options) {
  const absl::Status status = RulesStatus(options);
  if (!status.ok()) return status;
  return std::shared_ptr<const Authorization>(
      new Authorization(std::move(options)));
}

Authorization::Authorization(options::ServerOptions options)
    : options_(std::move(options)),
      deny_words_((options_.deny.size() + 63) / 64),
      words_(deny_words_ + (options_.allow.size() + 63) / 64),
      any_peer_(words_),
      plaintext_(words_),
      any_method_(words_),
      no_key_(words_) {
  for (size_t i = 0; i < options_.deny.size(); ++i) {
    Compile(options_.deny[i], RuleList::kDeny, i);
  }
  for (size_t i = 0; i < options_.allow.size(); ++i) {
    Compile(options_.allow[i], RuleList::kAllow, i);
  }
}

void Authorization::Add(Set* set, size_t bit) const {
  set->resize(words_);
  (*set)[bit / 64] |= uint64_t{1} << bit % 64;
}

void Authorization::Compile(const options::Rule& rule, RuleList list,
                            size_t index) {
  const bool deny = list == RuleList::kDeny;
  const size_t bit = deny ? index : deny_words_ * 64 + index;
  if (rule.from.empty()) Add(&any_peer_, bit);
  for (const std::string& peer : rule.from) CompilePeer(peer, bit);
  if (rule.methods.empty()) Add(&any_method_, bit);
  for (absl::string_view method : rule.methods) {
    if (absl::ConsumeSuffix(&method, "/*")) {
      Add(&services_[method], bit);
    } else {
      Add(&methods_[method], bit);
    }
  }
  CompileHeaders(rule, bit);
}

void Authorization::CompilePeer(const std::string& text, size_t bit) {
  absl::string_view name = text;
  if (name == kPlaintextPeer) {
    Add(&plaintext_, bit);
  } else if (absl::ConsumePrefix(&name, "dns:")) {
    Add(&dns_names_[absl::AsciiStrToLower(name)], bit);
  } else if (absl::ConsumeSuffix(&name, "*")) {
    Add(&below_[name], bit);
    below_sizes_.insert(name.size());
  } else {
    Add(&ids_[name], bit);
  }
}

void Authorization::CompileHeaders(const options::Rule& rule, size_t bit) {
  reads_headers_ = reads_headers_ || !rule.headers.empty();
  const HeaderMatch* key = nullptr;
  for (const HeaderMatch& header : rule.headers) {
    if (header.kind == HeaderMatch::Kind::kAbsent) continue;
    if (key == nullptr || header.kind == HeaderMatch::Kind::kExact) {
      key = &header;
    }
  }
  if (key == nullptr) return Add(&no_key_, bit);
  Keys& keys = keys_[key->name];
  keys.any_value.resize(words_);
  Add(key->kind == HeaderMatch::Kind::kExact ? &keys.values[key->value]
                                             : &keys.any_value,
      bit);
}

void Authorization::FindByPeer(const Peer& peer, uint64_t* found) const {
  if (peer.plaintext) return AddTo(found, plaintext_);
  const absl::string_view id = peer.spiffe_id;
  const auto exact = ids_.find(id);
  if (exact != ids_.end()) AddTo(found, exact->second);
  for (const size_t size : below_sizes_) {
    if (size >= id.size()) break;
    if (id[size - 1] != '/') continue;
    const auto below = below_.find(id.substr(0, size));
    if (below != below_.end()) AddTo(found, below->second);
  }
  if (dns_names_.empty()) return;
  for (const std::string& name : peer.dns_names) {
    if (name.size() > kMaxDnsName) continue;
    char lower[kMaxDnsName];
    std::transform(name.begin(), name.end(), lower,
                   [](unsigned char c) { return absl::ascii_tolower(c); });
    const auto it = dns_names_.find(absl::string_view(lower, name.size()));
    if (it != dns_names_.end()) AddTo(found, it->second);
  }
}

void Authorization::KeepByMethod(absl::string_view service,
                                 absl::string_view method_path,
                                 uint64_t* found) const {
  const auto in_service = services_.find(service);
  const auto exact = methods_.find(method_path);
  for (size_t i = 0; i < words_; ++i) {
    uint64_t by_method = any_method_[i];
    if (in_service != services_.end()) by_method |= in_service->second[i];
    if (exact != methods_.end()) by_method |= exact->second[i];
    found[i] &= by_method;
  }
}

void Authorization::KeepByHeader(absl::Span<const Header> headers,
                                 uint64_t* found) const {
  uint64_t wanted = 0;
  for (size_t i = 0; i < words_; ++i) wanted |= found[i] & ~no_key_[i];
  if (wanted == 0) return;
  uint64_t by_header[kMaxWords];
  std::copy(no_key_.begin(), no_key_.end(), by_header);
  for (const Header& header : headers) {
    const auto it = keys_.find(header.name);
    if (it == keys_.end()) continue;
    const Keys& keys = it->second;
    AddTo(by_header, keys.any_value);
    if (keys.values.empty()) continue;
    ForEachValue(header.value, [&](absl::string_view value) {
      const auto exact = keys.values.find(value);
      if (exact != keys.values.end()) AddTo(by_header, exact->second);
      return true;
    });
  }
  for (size_t i = 0; i < words_; ++i) found[i] &= by_header[i];
}

int Authorization::FirstMatch(RuleList list, const uint64_t* found,
                              absl::Span<const Header> headers) const {
  const bool deny = list == RuleList::kDeny;
  const std::vector<options::Rule>& rules =
      deny ? options_.deny : options_.allow;
  const size_t begin = deny ? 0 : deny_words_;
  const size_t end = deny ? deny_words_ : words_;
  for (size_t word = begin; word < end; ++word) {
    for (uint64_t left = found[word]; left != 0; left &= left - 1) {
      const size_t i = (word - begin) * 64 + absl::countr_zero(left);
      if (std::all_of(rules[i].headers.begin(), rules[i].headers.end(),
                      [&](const HeaderMatch& match) {
                        return HeaderMatches(match, headers, list);
                      })) {
        return static_cast<int>(i);
      }
    }
  }
  return -1;
}

Decision Authorization::Refused(const Peer& peer, Reason reason, RuleList list,
                                int rule) const {
  // While a fleet migrates, a caller without TLS has no name to be allowed by.
  const bool migrating = reason == Reason::kNotAllowed && peer.plaintext &&
                         options_.mode == options::ServerMode::kPermissive;
  const bool only_counted =
      migrating || options_.rules == options::Mode::kObserve;
  return {only_counted, only_counted, list, rule, reason};
}

Decision Authorization::Decide(const Peer& peer, absl::string_view path,
                               absl::Span<const Header> headers) const {
  if (peer.plaintext && options_.mode == options::ServerMode::kStrict) {
    return {false, false, RuleList::kNone, -1, Reason::kPlaintext};
  }
  if (words_ == 0) return {};
  absl::string_view service;
  absl::string_view method;
  if (!SplitPath(path, &service, &method)) {
    return Refused(peer, Reason::kBadPath, RuleList::kNone, -1);
  }
  if (reads_headers_ &&
      !std::all_of(headers.begin(), headers.end(), [](const Header& header) {
        return IsHeaderName(header.name);
      })) {
    return Refused(peer, Reason::kBadHeader, RuleList::kNone, -1);
  }
  uint64_t found[kMaxWords];
  std::copy(any_peer_.begin(), any_peer_.end(), found);
  FindByPeer(peer, found);
  KeepByMethod(service, path.substr(1), found);
  KeepByHeader(headers, found);
  const int denied = FirstMatch(RuleList::kDeny, found, headers);
  if (denied >= 0) {
    return Refused(peer, Reason::kDenied, RuleList::kDeny, denied);
  }
  if (options_.allow.empty()) {
    return {true, false, RuleList::kNone, -1, Reason::kNoAllow};
  }
  const int allowed = FirstMatch(RuleList::kAllow, found, headers);
  if (allowed >= 0) {
    return {true, false, RuleList::kAllow, allowed, Reason::kAllowed};
  }
  return Refused(peer, Reason::kNotAllowed, RuleList::kNone, -1);
}

}  // namespace mesh::security
