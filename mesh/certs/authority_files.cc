#include "mesh/certs/authority_files.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mesh/base/file.h"
#include "mesh/certs/write_file.h"

namespace mesh::certs {
namespace {

constexpr unsigned kPublic = 0644;
constexpr unsigned kSecret = 0600;

std::string In(const std::string& directory, absl::string_view file) {
  return absl::StrCat(directory, "/", file);
}

// The content, or nothing where there is no such file.
absl::StatusOr<std::string> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

}  // namespace

absl::Status SaveAuthority(const std::string& directory,
                           const Authority& authority) {
  absl::Status status = MakeDirectory(directory);
  if (!status.ok()) return status;
  status = WriteFile(In(directory, "ca.key"), authority.key().Pem(), kSecret);
  if (!status.ok()) return status;
  return WriteFile(In(directory, "ca.crt"), authority.AllPem(), kPublic);
}

absl::StatusOr<Authority> LoadAuthority(const std::string& directory) {
  const absl::StatusOr<std::string> chain =
      base::ReadFile(In(directory, "ca.crt"));
  if (!chain.ok()) return chain.status();
  const absl::StatusOr<std::string> key =
      base::ReadFile(In(directory, "ca.key"));
  if (!key.ok()) return key.status();
  absl::StatusOr<Authority> authority = Authority::Load(*chain, *key);
  if (authority.ok()) return authority;
  return absl::InvalidArgumentError(
      absl::StrCat("the authority in \"", directory,
                   "\" cannot be used: ", authority.status().message()));
}

absl::StatusOr<Revoked> LoadRevoked(const std::string& directory) {
  const std::string path = In(directory, "revoked");
  const absl::StatusOr<std::string> text = ReadIfThere(path);
  if (!text.ok()) return text.status();
  Revoked revoked;
  if (text->empty()) return revoked;
  std::vector<std::string> lines =
      absl::StrSplit(*text, '\n', absl::SkipEmpty());
  if (lines.empty() || !absl::SimpleAtoi(lines[0], &revoked.number)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":1: the number of the last list must stand here."));
  }
  revoked.serials.assign(lines.begin() + 1, lines.end());
  return revoked;
}

absl::Status SaveCrl(const std::string& directory, const std::string& pem,
                     const Revoked& revoked) {
  const absl::Status status =
      WriteFile(In(directory, "revoked"),
                absl::StrCat(revoked.number, "\n",
                             absl::StrJoin(revoked.serials, "\n"), "\n"),
                kPublic);
  if (!status.ok()) return status;
  return WriteFile(In(directory, "crl.pem"), pem, kPublic);
}

absl::Status SaveIssued(const std::string& directory, const Issued& issued) {
  absl::Status status = MakeDirectory(directory);
  if (!status.ok()) return status;
  status = WriteFile(In(directory, "tls.key"), issued.key, kSecret);
  if (!status.ok()) return status;
  return WriteFile(In(directory, "tls.crt"), issued.chain, kPublic);
}

absl::Status SaveTrust(const std::string& directory,
                       const std::vector<std::string>& authorities) {
  std::vector<std::string> roots;
  std::string crls;
  for (const std::string& from : authorities) {
    const absl::StatusOr<Authority> authority = LoadAuthority(from);
    if (!authority.ok()) return authority.status();
    const std::string& root = authority->root_pem();
    // Intermediates share one.
    if (std::find(roots.begin(), roots.end(), root) == roots.end()) {
      roots.push_back(root);
    }
    const absl::StatusOr<std::string> crl = ReadIfThere(In(from, "crl.pem"));
    if (!crl.ok()) return crl.status();
    crls += *crl;
  }
  absl::Status status = MakeDirectory(directory);
  if (!status.ok()) return status;
  const std::string list = In(directory, "crl.pem");
  const absl::StatusOr<std::string> before = ReadIfThere(list);
  if (!before.ok()) return before.status();
  if (!crls.empty() || !before->empty()) {
    status = WriteFile(list, crls, kPublic);
    if (!status.ok()) return status;
  }
  return WriteFile(In(directory, "ca.crt"), absl::StrJoin(roots, ""), kPublic);
}

absl::StatusOr<std::string> SerialOf(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::string> serial = SerialOfPem(*text);
  if (serial.ok()) return serial;
  return absl::InvalidArgumentError(
      absl::StrCat("the file \"", path, "\": ", serial.status().message()));
}

}  // namespace mesh::certs
