#include "benchmarks/overhead/tls_files.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mesh/base/file.h"
#include "mesh/certs/authority.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kLifetime = absl::Hours(24);
constexpr absl::Duration kEarlier = absl::Minutes(5);
constexpr int kRules = 100;

absl::Status Write(const std::string& path, absl::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file.fail()) return absl::UnavailableError("cannot write " + path);
  return absl::OkStatus();
}

std::string Rule(const std::string& name) {
  return absl::StrCat("    - {from: [\"spiffe://bench/", name,
                      "\"], methods: [\"mesh.benchmarks.echo.Echo/*\"]}\n");
}

std::string ListenText(const std::string& directory) {
  std::string text = absl::StrCat(
      "identity:\n  files:\n    cert: ", directory,
      "/echo.crt\n    key: ", directory, "/echo.key\n    ca: ", directory,
      "/ca.crt\nserver:\n  mode: strict\n  allow:\n");
  for (int i = 1; i < kRules; ++i) {
    absl::StrAppend(&text, Rule(absl::StrCat("other", i)));
  }
  return absl::StrCat(text, Rule("caller"));
}

}  // namespace

absl::Status WriteTlsFiles(const std::string& directory) {
  const absl::Time from = absl::Now() - kEarlier;
  const absl::Time until = absl::Now() + kLifetime;
  const absl::StatusOr<certs::Key> key =
      certs::Key::Make(certs::KeyType::kP256);
  if (!key.ok()) return key.status();
  const absl::StatusOr<certs::Authority> authority = certs::Authority::MakeRoot(
      certs::AuthorityOptions("overhead", from, until), *key);
  if (!authority.ok()) return authority.status();
  absl::Status status = Write(directory + "/ca.crt", authority->root_pem());
  for (const char* const name : {"echo", "caller", "stranger"}) {
    certs::CertificateOptions options =
        certs::SvidOptions(absl::StrCat("spiffe://bench/", name), from, until);
    options.names.push_back(
        {certs::AltName::Type::kDns, absl::StrCat(name, ".test")});
    const absl::StatusOr<certs::Issued> issued = authority->Issue(options);
    if (!issued.ok()) return issued.status();
    const std::string base = absl::StrCat(directory, "/", name);
    status.Update(Write(base + ".crt", issued->chain));
    status.Update(Write(base + ".key", issued->key));
    std::error_code ignored;  // mesh warns of a key that others may read.
    std::filesystem::permissions(base + ".key",
                                 std::filesystem::perms::owner_read |
                                     std::filesystem::perms::owner_write,
                                 ignored);
  }
  status.Update(Write(directory + "/listen.yaml", ListenText(directory)));
  return status;
}

std::string BundleFile(absl::string_view base) {
  return absl::StrCat(base.substr(0, base.rfind('/')), "/ca.crt");
}

absl::StatusOr<TlsTexts> ReadTlsFiles(const std::string& base) {
  absl::StatusOr<std::string> chain = base::ReadFile(base + ".crt");
  if (!chain.ok()) return chain.status();
  absl::StatusOr<std::string> key = base::ReadFile(base + ".key");
  if (!key.ok()) return key.status();
  absl::StatusOr<std::string> bundle = base::ReadFile(BundleFile(base));
  if (!bundle.ok()) return bundle.status();
  return TlsTexts{*std::move(chain), *std::move(key), *std::move(bundle)};
}

}  // namespace mesh::benchmarks
