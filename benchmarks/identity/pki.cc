#include "benchmarks/identity/pki.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {
namespace {

// Long enough that no alarm is raised and no spread is shorter than its
// default.
constexpr absl::Duration kLifetime = absl::Hours(24);
constexpr absl::Duration kEarlier = absl::Minutes(5);

template <typename T>
T Must(absl::StatusOr<T> made) {
  if (!made.ok()) Die(made.status().message());
  return *std::move(made);
}

certs::Authority MakeAuthority(const std::string& name) {
  const absl::Time now = absl::Now();
  return Must(certs::Authority::MakeRoot(
      certs::AuthorityOptions(name, now - kEarlier, now + 2 * kLifetime),
      Must(certs::Key::Make(certs::KeyType::kP256))));
}

}  // namespace

Pki::Pki() : spare_(MakeAuthority("spare")) {
  authorities_.push_back(MakeAuthority("authority 0"));
}

std::string Pki::IdOf(const std::string& name) {
  return absl::StrCat("spiffe://bench/", name);
}

Secret Pki::Issue(const std::string& name, Dates dates) const {
  absl::Time from = absl::Now() - kEarlier;
  absl::Time until = absl::Now() + kLifetime;
  if (dates == Dates::kExpired) until = absl::Now() - absl::Seconds(60);
  if (dates == Dates::kNotYetValid) from = absl::Now() + absl::Hours(1);
  certs::CertificateOptions options =
      certs::SvidOptions(IdOf(name), from, until);
  options.names.push_back({certs::AltName::Type::kDns, kDnsName});
  base::MutexLock lock(&mu_);
  certs::Issued issued = Must(authorities_[signer_].Issue(options));
  issuers_[issued.serial] = signer_;
  Secret secret;
  secret.key = std::move(issued.key);
  secret.chain = std::move(issued.chain);
  secret.serial = std::move(issued.serial);
  secret.bundle = BundleLocked();
  return secret;
}

std::string Pki::Bundle() const {
  base::MutexLock lock(&mu_);
  return BundleLocked();
}

std::string Pki::BundleLocked() const {
  std::string bundle = spare_.pem();
  for (size_t i = oldest_; i < authorities_.size(); ++i) {
    bundle += authorities_[i].pem();
  }
  return bundle;
}

void Pki::Add() {
  base::MutexLock lock(&mu_);
  authorities_.push_back(
      MakeAuthority(absl::StrCat("authority ", authorities_.size())));
}

void Pki::SignNext() {
  base::MutexLock lock(&mu_);
  signer_ = authorities_.size() - 1;
}

void Pki::Withdraw() {
  base::MutexLock lock(&mu_);
  oldest_ = signer_;
}

size_t Pki::oldest() const {
  base::MutexLock lock(&mu_);
  return oldest_;
}

bool Pki::IsOlder(const std::string& serial, size_t authority) const {
  base::MutexLock lock(&mu_);
  const auto it = issuers_.find(serial);
  return it != issuers_.end() && it->second < authority;
}

}  // namespace mesh::benchmarks
