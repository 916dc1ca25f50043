#include "mesh/security/peer_pattern.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/security/spiffe_id.h"

namespace mesh::security {
namespace {

constexpr size_t kMaxDnsName = 253;
constexpr size_t kMaxLabel = 63;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsLabel(absl::string_view label) {
  if (label.empty() || label.size() > kMaxLabel) return false;
  if (label.front() == '-' || label.back() == '-') return false;
  return std::all_of(label.begin(), label.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
           c == '_';
  });
}

// Why `name` is no DNS name; empty if it is one.
absl::string_view WhyNoDnsName(absl::string_view name) {
  if (absl::StrContains(name, '*')) {
    return "a wildcard is not allowed; name each peer, or use SPIFFE IDs.";
  }
  if (name.size() > kMaxDnsName) return "it has more than 253 bytes.";
  const std::vector<absl::string_view> labels = absl::StrSplit(name, '.');
  for (const absl::string_view label : labels) {
    if (!IsLabel(label)) {
      return "it is no DNS name; write one as \"dns:cart.prod\".";
    }
  }
  const absl::string_view last = labels.back();
  if (std::all_of(last.begin(), last.end(), IsDigit)) {
    return "an IP address is no DNS name.";
  }
  return "";
}

}  // namespace

absl::StatusOr<PeerPattern> PeerPattern::Parse(absl::string_view text) {
  const auto wrong = [text](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("the peer ", Quoted(text), " is not valid: ", why));
  };
  absl::string_view name = text;
  if (absl::ConsumePrefix(&name, "dns:")) {
    const absl::string_view why = WhyNoDnsName(name);
    if (!why.empty()) return wrong(why);
    return PeerPattern(std::string(text), Kind::kDnsName, std::string(name));
  }
  if (!absl::StartsWith(text, "spiffe://")) {
    return wrong(
        "write \"spiffe://domain/path\", \"spiffe://domain/path/*\" or "
        "\"dns:name\".");
  }
  const bool below = absl::ConsumeSuffix(&name, "/*");
  if (absl::StrContains(name, '*')) {
    return wrong(
        "\"*\" may stand only at the end, for whole segments: \"/*\".");
  }
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse(name);
  if (!id.ok()) return id.status();
  if (below) {
    return PeerPattern(std::string(text), Kind::kBelow,
                       absl::StrCat(name, "/"));
  }
  if (id->path().empty()) {
    return wrong("it has no path; \"/*\" at the end means the whole domain.");
  }
  return PeerPattern(std::string(text), Kind::kSpiffeId, std::string(name));
}

bool PeerPattern::Matches(const Peer& peer) const {
  if (peer.plaintext) return false;
  switch (kind_) {
    case Kind::kSpiffeId:
      return peer.spiffe_id == name_;
    case Kind::kBelow:
      return peer.spiffe_id.size() > name_.size() &&
             absl::StartsWith(peer.spiffe_id, name_);
    case Kind::kDnsName:
      return std::any_of(peer.dns_names.begin(), peer.dns_names.end(),
                         [this](const std::string& name) {
                           return absl::EqualsIgnoreCase(name, name_);
                         });
  }
  return false;
}

std::string PeerPattern::trust_domain() const {
  absl::string_view rest = name_;
  if (!absl::ConsumePrefix(&rest, "spiffe://")) return "";
  return std::string(rest.substr(0, rest.find('/')));
}

absl::StatusOr<std::vector<PeerPattern>> ParsePeerPatterns(
    absl::Span<const std::string> texts) {
  std::vector<PeerPattern> patterns;
  for (const std::string& text : texts) {
    absl::StatusOr<PeerPattern> pattern = PeerPattern::Parse(text);
    if (!pattern.ok()) return pattern.status();
    patterns.push_back(*std::move(pattern));
  }
  return patterns;
}

bool AnyMatches(absl::Span<const PeerPattern> patterns, const Peer& peer) {
  return std::any_of(
      patterns.begin(), patterns.end(),
      [&peer](const PeerPattern& pattern) { return pattern.Matches(peer); });
}

}  // namespace mesh::security
