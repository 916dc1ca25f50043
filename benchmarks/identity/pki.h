#ifndef MESH_BENCHMARKS_IDENTITY_PKI_H_
#define MESH_BENCHMARKS_IDENTITY_PKI_H_

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "benchmarks/identity/raw_tls.h"
#include "mesh/base/mutex.h"
#include "mesh/certs/authority.h"

namespace mesh::benchmarks {

// What one process shows and whom it trusts: PEM.
struct Secret {
  std::string key;
  std::string chain;
  std::string bundle;
  std::string serial;

  RawIdentity Raw() const { return {key, chain, bundle}; }
};

// The trust domain "bench": authorities that follow each other, and one more
// that is always trusted and signs nothing. So a bundle has at least two
// certificates. Thread-safe.
class Pki {
 public:
  // The DNS name that all leaves have beside their SPIFFE IDs.
  static constexpr char kDnsName[] = "identity.test";
  enum class Dates { kGood, kExpired, kNotYetValid };

  Pki();

  // "spiffe://bench/NAME".
  static std::string IdOf(const std::string& name);
  // A new leaf of the authority that signs, with the bundle of now.
  Secret Issue(const std::string& name, Dates dates = Dates::kGood) const;
  // The authorities that are trusted, the one that signs nothing first.
  std::string Bundle() const;

  // The three steps from one authority to the next.
  void Add();       // The next one is trusted, too.
  void SignNext();  // It signs.
  void Withdraw();  // Only it is trusted.

  // The number of the oldest authority that is trusted.
  size_t oldest() const;
  // Whether this certificate comes from an authority with a lesser number.
  bool IsOlder(const std::string& serial, size_t authority) const;

 private:
  std::string BundleLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const certs::Authority spare_;

  mutable base::Mutex mu_;
  std::vector<certs::Authority> authorities_ ABSL_GUARDED_BY(mu_);
  size_t oldest_ ABSL_GUARDED_BY(mu_) = 0;  // It is trusted.
  size_t signer_ ABSL_GUARDED_BY(mu_) = 0;
  mutable std::map<std::string, size_t> issuers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_PKI_H_
