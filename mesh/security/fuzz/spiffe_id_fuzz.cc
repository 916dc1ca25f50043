// SPIFFE IDs and patterns of peers, from any bytes.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/security/spiffe_id.h"

namespace {

using mesh::security::Peer;
using mesh::security::PeerPattern;
using mesh::security::SpiffeId;

void Require(bool condition) {
  if (!condition) abort();
}

bool HasOnly(absl::string_view text, absl::string_view bytes) {
  return text.find_first_not_of(bytes) == absl::string_view::npos;
}

// The standard's rules once more, in another way: by the parts between slashes.
bool IsSpiffeId(absl::string_view text) {
  constexpr absl::string_view kLower =
      "abcdefghijklmnopqrstuvwxyz0123456789.-_";
  constexpr absl::string_view kUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  if (text.size() > 2048 || parts.size() < 3) return false;
  if (parts[0] != "spiffe:" || !parts[1].empty()) return false;
  if (parts[2].empty() || parts[2].size() > 255) return false;
  if (!HasOnly(parts[2], kLower)) return false;
  for (size_t i = 3; i < parts.size(); ++i) {
    if (parts[i].empty() || parts[i] == "." || parts[i] == "..") return false;
    if (!HasOnly(parts[i], absl::StrCat(kLower, kUpper))) return false;
  }
  return true;
}

void TryId(absl::string_view text) {
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse(text);
  Require(id.ok() == IsSpiffeId(text));
  if (!id.ok()) {
    Require(id.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  Require(id->text() == text);
  Require(absl::StrCat("spiffe://", id->trust_domain(), id->path()) == text);
  if (id->path().empty()) return;
  Peer peer;
  peer.spiffe_id = id->text();
  const absl::StatusOr<PeerPattern> exact = PeerPattern::Parse(text);
  Require(exact.ok() && exact->Matches(peer));
  const absl::StatusOr<PeerPattern> all =
      PeerPattern::Parse(absl::StrCat("spiffe://", id->trust_domain(), "/*"));
  Require(all.ok() && all->Matches(peer));
  const absl::StatusOr<PeerPattern> below =
      PeerPattern::Parse(absl::StrCat(text, "/*"));
  Require(below.ok() && !below->Matches(peer));
  peer.spiffe_id += "/a";
  Require(below->Matches(peer) && !exact->Matches(peer));
}

void TryPattern(absl::string_view text) {
  const absl::StatusOr<PeerPattern> pattern = PeerPattern::Parse(text);
  if (!pattern.ok()) {
    Require(pattern.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  Require(pattern->text() == text);
  Peer peer;
  Require(!pattern->Matches(peer));
  if (absl::StartsWith(text, "dns:")) {
    peer.dns_names = {std::string(text.substr(4))};
    Require(pattern->Matches(peer));
    peer.dns_names[0] += '\0';
    Require(!pattern->Matches(peer));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  TryId(text);
  TryPattern(text);
  return 0;
}
