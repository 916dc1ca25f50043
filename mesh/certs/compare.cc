#include "mesh/certs/compare.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/file.h"
#include "mesh/options/security.h"
#include "mesh/security/certificate.h"
#include "mesh/security/trust.h"
#include "mesh/security/verifier.h"

namespace mesh::certs {
namespace {

using security::PeerSide;

std::string Written(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// The trust domain of a leaf that may be bad otherwise. Empty: it has none.
std::string TrustDomainOf(const std::string& chain) {
  constexpr size_t kMost = 100;
  const auto parsed = security::ParseCertificates(chain, kMost);
  if (!parsed.ok() || parsed->empty()) return "";
  const auto names = security::NamesOf(parsed->front().get());
  if (!names.ok() || !names->spiffe_id.has_value()) return "";
  return std::string(names->spiffe_id->trust_domain());
}

// What an end is by itself.
void LookAt(const End& end, absl::Time now, Report* report) {
  const auto identity = security::Identity::Make(end.bytes, now);
  if (!identity.ok()) {
    report->good = false;
    report->lines.push_back(
        absl::StrCat(end.name, ": ", identity.status().message()));
    return;
  }
  const security::Identity& good = **identity;
  std::string line =
      absl::StrCat(end.name, ": ",
                   good.serial().empty() ? "no certificate"
                   : good.spiffe_id().has_value()
                       ? good.spiffe_id()->text()
                       : std::string("a certificate without a SPIFFE ID"));
  if (!good.serial().empty()) {
    absl::StrAppend(&line, ", serial ", good.serial(), ", valid until ",
                    Written(good.not_after()));
  }
  report->lines.push_back(std::move(line));
  for (const std::string& warning : good.warnings()) {
    report->lines.push_back(absl::StrCat(end.name, ": warning: ", warning));
  }
}

// Why `judge` refuses `peer`, which is the `side` of the connection. Empty: it
// does not.
std::string Refusal(const End& judge, const End& peer, PeerSide side,
                    absl::Time now) {
  const auto trust = security::Trust::Make(
      judge.bytes.bundles, judge.bytes.crls, TrustDomainOf(judge.bytes.chain));
  if (!trust.ok()) {
    return absl::StrCat("what it trusts cannot be read: ",
                        trust.status().message());
  }
  security::PeerPolicy policy;
  policy.side = side;
  policy.crl = security::CrlCheckOf(options::CrlMode::kDefault, **trust);
  policy.allowed = judge.peers;
  const security::PeerVerdict verdict =
      security::VerifyPeer(peer.bytes.chain, **trust, policy, now);
  if (verdict.admitted()) return "";
  return absl::StrCat(security::PeerRefusalName(verdict.refusal), ": ",
                      verdict.text);
}

// Whether `client` may call the server of `server`.
void Call(const End& client, const End& server, absl::Time now,
          Report* report) {
  const std::string direction =
      absl::StrCat("client ", client.name, " to server ", server.name, ": ");
  const std::string by_client = Refusal(client, server, PeerSide::kServer, now);
  const std::string by_server = Refusal(server, client, PeerSide::kClient, now);
  if (!by_client.empty()) {
    report->lines.push_back(
        absl::StrCat(direction, "the client refuses: ", by_client));
  }
  if (!by_server.empty()) {
    report->lines.push_back(
        absl::StrCat(direction, "the server refuses: ", by_server));
  }
  if (by_client.empty() && by_server.empty()) {
    report->lines.push_back(absl::StrCat(direction, "good"));
  } else {
    report->good = false;
  }
}

absl::Status Put(const std::string& path, bool may_be_absent,
                 std::string* text) {
  absl::StatusOr<std::string> read = base::ReadFile(path);
  if (read.ok()) {
    *text = *std::move(read);
  } else if (!may_be_absent || !absl::IsNotFound(read.status())) {
    return read.status();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<End> ReadEnd(const std::string& directory) {
  End end;
  end.name = directory;
  std::string crl;
  for (const auto& [name, may_be_absent, text] :
       {std::make_tuple("tls.crt", true, &end.bytes.chain),
        std::make_tuple("tls.key", true, &end.bytes.key),
        std::make_tuple("ca.crt", false, &end.bytes.bundles[""]),
        std::make_tuple("crl.pem", true, &crl)}) {
    const absl::Status status =
        Put(absl::StrCat(directory, "/", name), may_be_absent, text);
    if (!status.ok()) return status;
  }
  if (!crl.empty()) end.bytes.crls.push_back(std::move(crl));
  return end;
}

Report Compare(const End& a, const End& b, absl::Time now) {
  Report report;
  LookAt(a, now, &report);
  LookAt(b, now, &report);
  Call(a, b, now, &report);
  Call(b, a, now, &report);
  return report;
}

}  // namespace mesh::certs
