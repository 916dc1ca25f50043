// Verdicts about peers. An input is a bundle, a line "===", and a chain; both
// may be any bytes. The corpus was made with mesh/certs, for the years 2020 to
// 2120.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/security/certificate.h"
#include "mesh/security/trust.h"
#include "mesh/security/verifier.h"

namespace {

using mesh::security::Bundle;
using mesh::security::CrlCheck;
using mesh::security::ParseCertificates;
using mesh::security::PeerPolicy;
using mesh::security::PeerSide;
using mesh::security::PeerVerdict;
using mesh::security::Trust;
using mesh::security::VerifyPeer;

void Require(bool condition) {
  if (!condition) abort();
}

// The chain in DER, with all but the leaf in the other order. Empty: it cannot
// be read.
std::string Reversed(absl::string_view chain) {
  const auto certificates = ParseCertificates(chain, 8);
  if (!certificates.ok() || certificates->empty()) return "";
  std::vector<std::string> ders;
  for (const auto& one : *certificates) {
    unsigned char* bytes = nullptr;
    const int size = i2d_X509(one.get(), &bytes);
    Require(size > 0);
    ders.emplace_back(reinterpret_cast<const char*>(bytes), size);
    OPENSSL_free(bytes);
  }
  std::reverse(ders.begin() + 1, ders.end());
  std::string all;
  for (const std::string& der : ders) all += der;
  return all;
}

void Try(absl::string_view chain, const Trust& trust, const PeerPolicy& policy,
         bool is_small) {
  const absl::Time now = absl::FromUnixSeconds(1900000000);
  const PeerVerdict verdict = VerifyPeer(chain, trust, policy, now);
  Require(verdict.admitted() == verdict.text.empty());
  // A log cannot be forged.
  Require(std::all_of(verdict.text.begin(), verdict.text.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c));
  }));
  if (verdict.admitted()) {
    Require(verdict.not_after > now);
    Require(!verdict.peer.plaintext);
  }
  // With few authorities all chains are tried, so the order counts for nothing.
  const std::string reversed = Reversed(chain);
  if (!reversed.empty() && is_small) {
    const PeerVerdict other = VerifyPeer(reversed, trust, policy, now);
    Require(other.refusal == verdict.refusal);
    Require(other.peer == verdict.peer);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  // No base64 has three of them.
  const size_t cut = std::min(text.find("===\n"), text.size());
  const std::string bundle = text.substr(0, cut);
  const std::string chain = cut == text.size() ? text : text.substr(cut + 4);
  const auto parsed = Bundle::Parse(bundle);
  const auto trust =
      Trust::Make({{"prod", bundle}, {"", bundle}}, {bundle}, "prod");
  const auto no_crl = Trust::Make({{"prod", bundle}, {"", bundle}}, {}, "prod");
  Require(no_crl.ok() == parsed.ok());
  if (!no_crl.ok()) return 0;
  PeerPolicy policy;
  for (const PeerSide side : {PeerSide::kClient, PeerSide::kServer}) {
    policy.side = side;
    policy.crl = CrlCheck::kOff;
    Try(chain, **no_crl, policy, parsed->size() <= 4);
    if (!trust.ok()) continue;
    policy.crl = CrlCheck::kRequire;
    Try(chain, **trust, policy, parsed->size() <= 4);
  }
  return 0;
}
