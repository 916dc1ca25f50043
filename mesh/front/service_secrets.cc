#include "mesh/front/service_secrets.h"

#include <algorithm>
#include <utility>

#include "mesh/base/clock.h"
#include "mesh/security/peer_pattern.h"

namespace mesh::front {
namespace {

constexpr absl::Duration kMostSpread = absl::Seconds(30);
constexpr int kSpreadOfLifetime = 10;

absl::Duration SpreadOf(const SecretsPolicy& policy,
                        const security::Identity& identity) {
  if (policy.spread.has_value()) return *policy.spread;
  const absl::Duration lifetime = identity.not_after() - identity.not_before();
  return std::min(kMostSpread, lifetime / kSpreadOfLifetime);
}

bool IsEach(const std::vector<security::PeerPattern>& patterns,
            const std::vector<security::PeerPattern>& among) {
  return std::all_of(
      patterns.begin(), patterns.end(), [&](const auto& pattern) {
        return std::find(among.begin(), among.end(), pattern) != among.end();
      });
}

// Whether a peer that `before` admits, by `known`, may be refused by `after`.
// In doubt it may.
bool IsNarrower(const SecretsPolicy& before, const security::IdentityPtr& known,
                const SecretsPolicy& after) {
  if (after.credentials != nullptr) return false;  // Not mesh's to judge.
  if (before.credentials != nullptr) return true;
  if (before.identity != after.identity && known != nullptr) {
    const security::IdentityPtr next = after.identity->state().identity;
    if (next == nullptr || known->WithdrawnBy(*next)) return true;
  }
  if (before.crl != after.crl && after.crl != options::CrlMode::kIfPresent) {
    return true;
  }
  if (before.peer == after.peer) return false;
  return before.peer.empty() || after.peer.empty() ||
         !IsEach(before.peer, after.peer);
}

}  // namespace

void ServiceSecrets::Apply(const SecretsPolicy& policy) {
  SecretsPolicy before;  // Destroyed after the lock.
  base::MutexLock lock(&mu_);
  if (secrets_ != nullptr && policy.MakesTheSame(policy_)) {
    policy_.spread = policy.spread;
    return;
  }
  applied_ = generations_->Next();
  if (secrets_ != nullptr && IsNarrower(policy_, identity_, policy)) {
    withdrawn_before_ = applied_;
  }
  if (policy.identity != nullptr) policy.identity->Add(weak_from_this());
  before = std::exchange(policy_, policy);
  identity_ = nullptr;
  Renew();
}

service::SecretsPtr ServiceSecrets::Secrets() {
  struct Both {
    std::shared_ptr<ServiceSecrets> self;
    service::SecretsPtr secrets;
  };
  base::MutexLock lock(&mu_);
  const auto both =
      std::make_shared<const Both>(Both{shared_from_this(), secrets_});
  return {both, both->secrets.get()};
}

void ServiceSecrets::Tell(const std::shared_ptr<service::Service>& service) {
  base::MutexLock lock(&mu_);
  services_.erase(std::remove_if(services_.begin(), services_.end(),
                                 [&](const auto& known) {
                                   const auto there = known.lock();
                                   return there == nullptr || there == service;
                                 }),
                  services_.end());
  services_.push_back(service);
}

void ServiceSecrets::TellNobody() {
  base::MutexLock lock(&mu_);
  services_.clear();
}

void ServiceSecrets::OnIdentityChange() {
  std::vector<std::shared_ptr<service::Service>> services;
  {
    base::MutexLock lock(&mu_);
    Renew();
    for (const auto& known : services_) {
      if (auto service = known.lock()) services.push_back(std::move(service));
    }
  }
  for (const auto& service : services) service->SetSecrets(Secrets());
}

void ServiceSecrets::Renew() {
  const uint64_t now = secrets_ != nullptr ? secrets_->generation : 0;
  if (policy_.credentials != nullptr) {
    if (now < applied_) {
      secrets_ = service::FixedSecrets(policy_.credentials, applied_);
    }
    return;
  }
  const IdentityState state = policy_.identity->state();
  const uint64_t generation = std::max(applied_, state.generation);
  if (now >= generation) return;
  auto secrets = std::make_shared<service::Secrets>();
  secrets->generation = generation;
  secrets->withdrawn_before =
      std::max(withdrawn_before_, state.withdrawn_before);
  secrets->missing = state.missing;
  if (state.identity != nullptr) {
    // What the policy changes is changed at once.
    if (identity_ != nullptr)
      secrets->spread = SpreadOf(policy_, *state.identity);
    secrets->make = [door = std::make_shared<const security::ClientCredentials>(
                         state.identity,
                         security::ClientCredentials::Peer{
                             policy_.peer, CrlModeOf(policy_.crl, state),
                             policy_.one_bundle},
                         &base::WallTime,
                         counters_)](std::function<void(absl::Time)> expires) {
      return door->Make(std::move(expires));
    };
  }
  identity_ = state.identity;
  secrets_ = std::move(secrets);
}

}  // namespace mesh::front
