#include "mesh/security/spiffe_id.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mesh::security {
namespace {

constexpr absl::string_view kScheme = "spiffe://";
constexpr size_t kMaxQuoted = 120;

bool IsMark(char c) { return c == '.' || c == '-' || c == '_'; }

bool IsTrustDomainByte(char c) {
  return absl::ascii_islower(static_cast<unsigned char>(c)) ||
         absl::ascii_isdigit(static_cast<unsigned char>(c)) || IsMark(c);
}

bool IsPathByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || IsMark(c);
}

// `path` is empty or begins with a slash.
absl::Status CheckPath(absl::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const absl::string_view segment = path.substr(0, path.find('/'));
    if (segment.empty()) {
      return absl::InvalidArgumentError("its path has an empty segment.");
    }
    if (segment == "." || segment == "..") {
      return absl::InvalidArgumentError(
          "its path has a segment \".\" or \"..\".");
    }
    for (const char c : segment) {
      if (!IsPathByte(c)) {
        return absl::InvalidArgumentError(
            "its path may have only letters, digits, \".\", \"-\" and \"_\".");
      }
    }
    path.remove_prefix(segment.size());
  }
  return absl::OkStatus();
}

}  // namespace

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuoted)),
                      text.size() > kMaxQuoted ? "...\"" : "\"");
}

absl::Status SpiffeId::CheckTrustDomain(absl::string_view name) {
  if (name.empty()) {
    return absl::InvalidArgumentError("the trust domain is empty.");
  }
  if (name.size() > kMaxTrustDomainSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("the trust domain has ", name.size(), " bytes; at most ",
                     kMaxTrustDomainSize, " are allowed."));
  }
  for (const char c : name) {
    if (!IsTrustDomainByte(c)) {
      return absl::InvalidArgumentError(
          "the trust domain may have only a-z, 0-9, \".\", \"-\" and \"_\".");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SpiffeId> SpiffeId::Parse(absl::string_view text) {
  const auto wrong = [text](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is no SPIFFE ID: ", why));
  };
  if (text.size() > kMaxSize) {
    return wrong(absl::StrCat("it has ", text.size(), " bytes; at most ",
                              kMaxSize, " are allowed."));
  }
  if (!absl::StartsWith(text, kScheme)) {
    return wrong("it does not begin with \"spiffe://\".");
  }
  const absl::string_view rest = text.substr(kScheme.size());
  const absl::string_view domain = rest.substr(0, rest.find('/'));
  const absl::Status good_domain = CheckTrustDomain(domain);
  if (!good_domain.ok()) return wrong(good_domain.message());
  const absl::Status good_path = CheckPath(rest.substr(domain.size()));
  if (!good_path.ok()) return wrong(good_path.message());
  return SpiffeId(std::string(text), kScheme.size() + domain.size());
}

absl::string_view SpiffeId::trust_domain() const {
  return absl::string_view(text_).substr(kScheme.size(),
                                         path_ - kScheme.size());
}

absl::string_view SpiffeId::path() const {
  return absl::string_view(text_).substr(path_);
}

}  // namespace mesh::security
