#include "mesh/security/svid_response.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "mesh/security/spiffe_id.h"
#include "mesh/security/workload.pb.h"
#include "openssl/crypto.h"
#include "openssl/evp.h"

namespace mesh::security {
namespace {

// How long the DER SEQUENCE at the beginning of `der` is, with its head. 0:
// there is none, or it is cut off.
size_t SequenceSize(absl::string_view der) {
  constexpr uint8_t kSequence = 0x30;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(der[i]); };
  if (der.size() < 2 || at(0) != kSequence) return 0;
  size_t head = 2;
  size_t length = at(1);
  if (length >= 0x80) {
    const size_t bytes = length - 0x80;  // 0: indefinite, which DER has not.
    if (bytes == 0 || bytes > 4 || der.size() < 2 + bytes) return 0;
    length = 0;
    for (size_t i = 0; i < bytes; ++i) length = length << 8 | at(2 + i);
    head += bytes;
  }
  return length <= der.size() - head ? head + length : 0;
}

// Appends one block (RFC 7468). It writes in place, so that no other copy of a
// key is made.
void AppendPem(absl::string_view der, absl::string_view label,
               std::string* pem) {
  constexpr size_t kLine = 48;  // 64 characters.
  absl::StrAppend(pem, "-----BEGIN ", label, "-----\n");
  while (!der.empty()) {
    const absl::string_view line = der.substr(0, kLine);
    const size_t start = pem->size();
    pem->resize(start + (line.size() + 2) / 3 * 4 + 1);  // And a NUL.
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(pem->data() + start),
                    reinterpret_cast<const unsigned char*>(line.data()),
                    static_cast<int>(line.size()));
    pem->back() = '\n';
    der.remove_prefix(line.size());
  }
  absl::StrAppend(pem, "-----END ", label, "-----\n");
}

absl::Status Wrong(absl::string_view part, const absl::Status& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("the agent's ", part, ": ", why.message()));
}

std::string NameOf(const workload::X509SVID& svid) {
  return svid.hint().empty() ? Quoted(svid.spiffe_id())
                             : absl::StrCat(Quoted(svid.spiffe_id()), " (hint ",
                                            Quoted(svid.hint()), ")");
}

absl::StatusOr<workload::X509SVID*> Choose(workload::X509SVIDResponse* response,
                                           const SvidChoice& choice) {
  constexpr int kMostNamed = 10;
  std::vector<std::string> names;
  for (workload::X509SVID& svid : *response->mutable_svids()) {
    if ((choice.id.empty() || svid.spiffe_id() == choice.id) &&
        (choice.hint.empty() || svid.hint() == choice.hint)) {
      return &svid;
    }
    if (names.size() < kMostNamed) names.push_back(NameOf(svid));
  }
  if (names.empty()) {
    return absl::NotFoundError("the agent gives this process no SVID.");
  }
  return absl::NotFoundError(absl::StrCat(
      "the agent gives this process no SVID with",
      choice.id.empty() ? "" : absl::StrCat(" the id ", Quoted(choice.id)),
      choice.id.empty() || choice.hint.empty() ? "" : " and",
      choice.hint.empty() ? ""
                          : absl::StrCat(" the hint ", Quoted(choice.hint)),
      "; it gives ", absl::StrJoin(names, ", "), "."));
}

absl::Status ReadBundles(const workload::X509SVIDResponse& response,
                         const workload::X509SVID& svid, const SpiffeId& id,
                         IdentityBytes* bytes) {
  for (const auto& [name, der] : response.federated_bundles()) {
    // The standard has its SPIFFE ID here; agents also give the bare name.
    const std::string domain(absl::StripPrefix(name, "spiffe://"));
    const absl::Status good = SpiffeId::CheckTrustDomain(domain);
    if (!good.ok()) return Wrong("federated bundle", good);
    if (der.empty()) continue;
    absl::StatusOr<std::string> pem = PemOfDer(der, "CERTIFICATE");
    if (!pem.ok()) {
      return Wrong(absl::StrCat("bundle of ", Quoted(domain)), pem.status());
    }
    bytes->bundles[domain] = *std::move(pem);
  }
  absl::StatusOr<std::string> own = PemOfDer(svid.bundle(), "CERTIFICATE");
  if (!own.ok()) return Wrong("bundle", own.status());
  // No foreign one stands for it.
  bytes->bundles[std::string(id.trust_domain())] = *std::move(own);
  for (const std::string& der : response.crl()) {
    absl::StatusOr<std::string> pem = PemOfDer(der, "X509 CRL");
    if (!pem.ok()) return Wrong("revocation list", pem.status());
    bytes->crls.push_back(*std::move(pem));
  }
  return absl::OkStatus();
}

// Cleanses the keys of a message when it goes.
struct Cleansed {
  ~Cleansed() {
    for (workload::X509SVID& svid : *message.mutable_svids()) {
      std::string* const key = svid.mutable_x509_svid_key();
      OPENSSL_cleanse(key->data(), key->size());
    }
  }
  workload::X509SVIDResponse message;
};

}  // namespace

absl::StatusOr<std::string> PemOfDer(absl::string_view der,
                                     absl::string_view label) {
  if (der.empty()) return absl::InvalidArgumentError("it is empty.");
  std::string pem;
  // All of it at once: base64, a line's end for 64 characters, the boundaries.
  pem.reserve(der.size() / 3 * 4 + der.size() / 48 + 2 * label.size() + 64);
  while (!der.empty()) {
    const size_t size = SequenceSize(der);
    if (size == 0) {
      return absl::InvalidArgumentError(
          "it is cut off, or is no DER of one structure after another.");
    }
    AppendPem(der.substr(0, size), label, &pem);
    der.remove_prefix(size);
  }
  return pem;
}

absl::StatusOr<SvidResponse> ReadSvidResponse(absl::string_view message,
                                              const SvidChoice& choice) {
  Cleansed parsed;
  if (message.size() > kMaxSvidResponse ||
      !parsed.message.ParseFromArray(message.data(),
                                     static_cast<int>(message.size()))) {
    return absl::InvalidArgumentError(
        "the agent's answer is no X509SVIDResponse.");
  }
  const absl::StatusOr<workload::X509SVID*> chosen =
      Choose(&parsed.message, choice);
  if (!chosen.ok()) return chosen.status();
  const workload::X509SVID& svid = **chosen;
  const absl::StatusOr<SpiffeId> id = SpiffeId::Parse(svid.spiffe_id());
  if (!id.ok()) return Wrong("SPIFFE ID", id.status());

  SvidResponse response;
  response.spiffe_id = svid.spiffe_id();
  const absl::Status bundles =
      ReadBundles(parsed.message, svid, *id, &response.bytes);
  if (!bundles.ok()) return bundles;
  absl::StatusOr<std::string> chain = PemOfDer(svid.x509_svid(), "CERTIFICATE");
  if (!chain.ok()) return Wrong("SVID", chain.status());
  response.bytes.chain = *std::move(chain);
  if (SequenceSize(svid.x509_svid_key()) != svid.x509_svid_key().size()) {
    return Wrong("key", absl::InvalidArgumentError(
                            "it is cut off, or is no PKCS #8 in DER."));
  }
  absl::StatusOr<std::string> key =
      PemOfDer(svid.x509_svid_key(), "PRIVATE KEY");
  if (!key.ok()) return Wrong("key", key.status());
  response.bytes.key = *std::move(key);
  return response;
}

}  // namespace mesh::security
