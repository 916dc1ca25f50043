#include "mesh/server/peer_trust.h"

#include <utility>

namespace mesh::server {

JudgedChainPtr PeerTrust::Judge(absl::string_view chain, absl::Time now) {
  {
    base::MutexLock lock(&mu_);
    const auto it = judged_.find(chain);
    if (it != judged_.end() && now < it->second->verdict.until) {
      return it->second;
    }
  }
  auto judged = std::make_shared<JudgedChain>();
  judged->chain = std::string(chain);
  if (verify_ == nullptr) {
    judged->verdict.status =
        absl::UnauthenticatedError("the server has no identity");
  } else {
    judged->verdict = verify_(judged->chain);
  }
  decltype(judged_) forgotten;  // Destroyed without the lock.
  JudgedChainPtr replaced;
  base::MutexLock lock(&mu_);
  const auto it = judged_.find(chain);
  if (it != judged_.end()) {
    replaced = it->second;
    bytes_ -= chain.size();
    judged_.erase(it);
  }
  if (judged_.size() >= kMostKept || bytes_ + chain.size() > kMostBytes) {
    judged_.swap(forgotten);
    bytes_ = 0;
  }
  bytes_ += chain.size();
  judged_.emplace(judged->chain, judged);
  return judged;
}

size_t PeerTrust::kept() {
  base::MutexLock lock(&mu_);
  return judged_.size();
}

}  // namespace mesh::server
