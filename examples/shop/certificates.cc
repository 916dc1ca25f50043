#include "examples/shop/certificates.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "examples/shop/files.h"

namespace shop {
namespace {

namespace certs = mesh::certs;

// Before now, for clocks that are read in whole seconds.
constexpr absl::Duration kEarlier = absl::Seconds(2);
constexpr unsigned kSecret = 0600;

}  // namespace

absl::StatusOr<certs::Authority> Certificates::NewAuthority(uint64_t number) {
  absl::StatusOr<certs::Key> key = certs::Key::Make(certs::KeyType::kP256);
  if (!key.ok()) return key.status();
  const absl::Time now = absl::Now();
  return certs::Authority::MakeRoot(
      certs::AuthorityOptions(absl::StrCat("shop authority ", number),
                              now - kEarlier, now + absl::Hours(24)),
      *key);
}

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Make(
    std::string directory, absl::Duration lifetime) {
  absl::StatusOr<certs::Authority> authority = NewAuthority(0);
  if (!authority.ok()) return authority.status();
  return absl::WrapUnique(
      new Certificates(std::move(directory), lifetime, *std::move(authority)));
}

absl::Status Certificates::Add(const std::string& process) {
  const std::string path = absl::StrCat(directory_, "/", process);
  if (mkdir(path.c_str(), 0700) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("make ", path));
  }
  processes_.push_back(process);
  return Issue(process);
}

absl::Status Certificates::Rotate() {
  switch (rotations_++ % 3) {
    case 0: {
      absl::StatusOr<certs::Authority> next = NewAuthority(withdrawn_ + 1);
      if (!next.ok()) return next.status();
      absl::StrAppend(&trusted_, next->root_pem());
      next_ = *std::move(next);
      break;
    }
    case 1:
      authority_ = *std::exchange(next_, std::nullopt);
      break;
    case 2:
      trusted_ = authority_.root_pem();
      ++withdrawn_;
      break;
  }
  for (const std::string& process : processes_) {
    const absl::Status status = Issue(process);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Certificates::Issue(const std::string& process) const {
  const std::string service = process.substr(0, process.find('-'));
  const absl::Time now = absl::Now();
  certs::CertificateOptions options = certs::SvidOptions(
      absl::StrCat("spiffe://shop/", service), now - kEarlier, now + lifetime_);
  options.names.push_back({certs::AltName::Type::kDns, service});
  const absl::StatusOr<certs::Issued> issued = authority_.Issue(options);
  if (!issued.ok()) return issued.status();
  const std::string to = absl::StrCat(directory_, "/", process, "/");
  absl::Status status = WriteWhole(to + "tls.key", issued->key, kSecret);
  status.Update(WriteWhole(to + "tls.crt", issued->chain));
  status.Update(WriteWhole(to + "ca.crt", trusted_));
  return status;
}

}  // namespace shop
