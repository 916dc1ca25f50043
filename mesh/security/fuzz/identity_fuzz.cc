// Identities, from any PEM text: it stands for chain, key, bundle and lists at
// once. The corpus was made with mesh/certs, for the years 2020 to 2120.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "mesh/security/identity.h"

namespace {

using mesh::security::Identity;
using mesh::security::IdentityBytes;

void Require(bool condition) {
  if (!condition) abort();
}

void Try(const IdentityBytes& bytes, absl::Time now) {
  const auto identity = Identity::Make(bytes, now);
  if (!identity.ok()) {
    const absl::StatusCode code = identity.status().code();
    Require(code == absl::StatusCode::kInvalidArgument ||
            code == absl::StatusCode::kFailedPrecondition);
    // A line of a key is longer than any word of a message.
    if (bytes.key.size() > 200) {
      Require(!absl::StrContains(identity.status().message(),
                                 bytes.key.substr(100, 60)));
    }
    if (code == absl::StatusCode::kFailedPrecondition) {
      Require(*Identity::NotBefore(bytes) > now);
    }
    return;
  }
  Require((*identity)->not_before() <= now && (*identity)->not_after() > now);
  Require((*identity)->bytes().chain == bytes.chain);
  Require(!(*identity)->WithdrawnBy(**identity));
  Require((*identity)->serial().empty() == bytes.chain.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::Time now = absl::FromUnixSeconds(1900000000);
  IdentityBytes bytes;
  bytes.bundles = {{"prod", text}};
  Try(bytes, now);
  bytes.chain = text;
  bytes.key = text;
  Try(bytes, now);
  Try(bytes, absl::UnixEpoch());
  bytes.bundles.clear();
  bytes.crls = {text};
  Try(bytes, now);
  return 0;
}
