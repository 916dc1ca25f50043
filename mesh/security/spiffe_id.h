#ifndef MESH_SECURITY_SPIFFE_ID_H_
#define MESH_SECURITY_SPIFFE_ID_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mesh::security {

// The name of a workload: "spiffe://prod/shop/cart". A value.
//
// Parsed byte by byte as the SPIFFE-ID standard says, section 2. Nothing is
// normalised, so two IDs are the same exactly when their bytes are.
class SpiffeId {
 public:
  static constexpr size_t kMaxSize = 2048;
  static constexpr size_t kMaxTrustDomainSize = 255;

  // INVALID_ARGUMENT says what is wrong with `text`. There is no upper case in
  // scheme and trust domain, no percent, port, user, query or fragment, and no
  // segment that is empty, "." or "..". The path may be absent.
  static absl::StatusOr<SpiffeId> Parse(absl::string_view text);

  // Whether `name` may be a trust domain: "prod". INVALID_ARGUMENT if not.
  static absl::Status CheckTrustDomain(absl::string_view name);

  const std::string& text() const { return text_; }
  // "prod". Valid as long as this is.
  absl::string_view trust_domain() const;
  // "/shop/cart". Empty: this names the trust domain itself.
  absl::string_view path() const;

  bool operator==(const SpiffeId& o) const { return text_ == o.text_; }
  bool operator!=(const SpiffeId& o) const { return text_ != o.text_; }

 private:
  SpiffeId(std::string text, size_t path)
      : text_(std::move(text)), path_(path) {}

  std::string text_;
  size_t path_;  // Where the path begins.
};

// `text` in double quotes for a message: escaped, and cut to a readable length.
std::string Quoted(absl::string_view text);

}  // namespace mesh::security

#endif  // MESH_SECURITY_SPIFFE_ID_H_
