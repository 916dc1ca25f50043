#include "mesh/front/shown_leaves.h"

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "mesh/security/certificate.h"
#include "mesh/security/pem.h"
#include "mesh/security/verifier.h"

namespace mesh::front {
namespace {

bool Vouches(const security::Trust& trust, const std::string& chain,
             absl::Time at) {
  security::PeerPolicy policy;
  policy.side = security::PeerSide::kServer;
  return security::VerifyPeer(chain, trust, policy, at).admitted();
}

// The certificates alone, in DER: the text may have the key, too.
std::string ChainOf(const security::Identity* identity) {
  if (identity == nullptr) return "";
  const absl::StatusOr<std::vector<std::string>> certificates =
      security::PemBlocks(identity->bytes().chain, "CERTIFICATE",
                          security::kMaxPeerChain);
  return certificates.ok() ? absl::StrJoin(*certificates, "") : "";
}

std::string IssuerOfLeaf(const std::string& chain) {
  const auto certificates =
      security::ParseCertificates(chain, security::kMaxPeerChain);
  if (!certificates.ok() || certificates->empty()) return "";
  return std::string(security::IssuerOf(certificates->front().get()));
}

}  // namespace

uint64_t ShownLeaves::Show(const security::Identity* identity,
                           absl::Time wall) {
  const std::string chain = ChainOf(identity);
  if (chain == chain_) return last_;
  chain_ = chain;
  ++last_;
  if (chain.empty()) return last_;
  Leaf leaf;
  leaf.number = last_;
  leaf.issuer = IssuerOfLeaf(chain);
  leaf.chain = chain;
  leaf.shown_at = wall;
  leaf.trusted = Vouches(identity->trust(), chain, wall);
  if (!leaves_.empty() && leaves_.back().issuer == leaf.issuer) {
    leaves_.pop_back();
  }
  leaves_.push_back(std::move(leaf));
  if (leaves_.size() > kMost) leaves_.pop_front();
  return last_;
}

uint64_t ShownLeaves::TakeWithdrawn(const security::Trust& trust) {
  for (size_t i = leaves_.size(); i > 0; --i) {
    const Leaf& leaf = leaves_[i - 1];
    if (!leaf.trusted || Vouches(trust, leaf.chain, leaf.shown_at)) continue;
    const uint64_t number = leaf.number;
    leaves_.erase(leaves_.begin(), leaves_.begin() + i);
    return number;
  }
  return 0;
}

}  // namespace mesh::front
