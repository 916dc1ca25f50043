#ifndef EXAMPLES_SHOP_CERTIFICATES_H_
#define EXAMPLES_SHOP_CERTIFICATES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/certs/authority.h"

namespace shop {

// The keys and certificates of the shop's processes. Each process has a
// directory with tls.key, tls.crt and ca.crt. The certificate of "cart-1" has
// the names spiffe://shop/cart, for mesh, and cart, for gRPC. One thread.
class Certificates {
 public:
  // `directory` is where those of the processes are made. Each certificate
  // holds for `lifetime` from when it is made.
  static absl::StatusOr<std::unique_ptr<Certificates>> Make(
      std::string directory, absl::Duration lifetime);

  // Makes the directory `process` ("cart-1") and its files.
  absl::Status Add(const std::string& process);

  // Gives each process a new key and a new certificate. Three rotations also
  // replace the authority. The first adds the next one to those that are
  // trusted. The second issues from it. The third withdraws the old one.
  absl::Status Rotate();

  // How often an authority was withdrawn.
  uint64_t withdrawn() const { return withdrawn_; }

 private:
  Certificates(std::string directory, absl::Duration lifetime,
               mesh::certs::Authority authority)
      : directory_(std::move(directory)),
        lifetime_(lifetime),
        authority_(std::move(authority)),
        trusted_(authority_.root_pem()) {}

  static absl::StatusOr<mesh::certs::Authority> NewAuthority(uint64_t number);
  absl::Status Issue(const std::string& process) const;

  const std::string directory_;
  const absl::Duration lifetime_;
  std::vector<std::string> processes_;
  uint64_t rotations_ = 0;
  uint64_t withdrawn_ = 0;
  mesh::certs::Authority authority_;  // It issues.
  std::optional<mesh::certs::Authority> next_;
  std::string trusted_;  // PEM.
};

}  // namespace shop

#endif  // EXAMPLES_SHOP_CERTIFICATES_H_
