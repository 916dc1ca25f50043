// An agent's answer, from any bytes, up to the identity.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/security/identity.h"
#include "mesh/security/spiffe_id.h"
#include "mesh/security/svid_response.h"

namespace {

void Require(bool condition) {
  if (!condition) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view message(reinterpret_cast<const char*>(data), size);
  const auto read = mesh::security::ReadSvidResponse(message, {});
  if (!read.ok()) {
    Require(!read.status().message().empty());
    return 0;
  }
  Require(mesh::security::SpiffeId::Parse(read->spiffe_id).ok());
  Require(absl::StartsWith(read->bytes.chain, "-----BEGIN CERTIFICATE-----\n"));
  Require(absl::StartsWith(read->bytes.key, "-----BEGIN PRIVATE KEY-----\n"));
  Require(!read->bytes.bundles.empty());
  // The same answer is meant when it is asked for by its name.
  const auto named =
      mesh::security::ReadSvidResponse(message, {read->spiffe_id, ""});
  Require(named.ok() && named->bytes.key == read->bytes.key);
  const auto identity = mesh::security::Identity::Make(
      read->bytes, absl::FromUnixSeconds(1'800'000'000));
  if (!identity.ok()) {
    // A key never stands in a message.
    Require(!absl::StrContains(identity.status().message(), "PRIVATE"));
  }
  return 0;
}
