#ifndef MESH_CONFIG_BUILD_SECURITY_H_
#define MESH_CONFIG_BUILD_SECURITY_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mesh/config/checks.h"
#include "mesh/options/security.h"
#include "mesh/options/service.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {

// Builds who this process is, whom it calls and who may call it. No certificate
// is read: a bad one is no bad configuration.
class SecurityBuilder final : private Checks {
 public:
  // `config` outlives this object.
  SecurityBuilder(const v1::Config& config, BuildContext* context)
      : Checks(context), config_(config) {}

  // What holds for the whole process. After the services, whose peers count.
  void Build(options::MeshOptions* options);

  // How the service `name`, at `path`, is secured. Absent: it is not.
  std::optional<options::TlsOptions> BuildTls(const std::string& name,
                                              const v1::Service& service,
                                              const std::string& path);

 private:
  // Remembers where the field `path` stands: its source may have to say what is
  // wrong with it.
  void KeepPlace(const std::string& path);
  void BuildIdentity(options::IdentityOptions* options);
  options::SpiffeSource BuildSpiffe();
  options::IdentityFiles BuildFiles();
  // The whole path of a file that the field `path` names. One that cannot be
  // read is a warning: it may come back, and its source says what it does.
  std::string Resolve(const std::string& file, const std::string& path);
  void CheckKey(const std::string& file, const std::string& path);
  void CheckPeerPattern();

  options::TlsOptions BuildTlsFields(const v1::Tls& tls,
                                     const std::string& path);
  void CheckNothingBesidePlaintext(const v1::Tls& tls, const std::string& path);
  void BuildPeers(const v1::Tls& tls, const std::string& path,
                  options::TlsOptions* options);

  void BuildServer(options::ServerOptions* options);
  std::vector<options::Rule> BuildRules(
      const google::protobuf::RepeatedPtrField<v1::Rule>& rules,
      const std::string& path);
  options::HeaderMatch BuildHeader(const std::string& name,
                                   const v1::HeaderMatch& header,
                                   const std::string& path);
  void CheckRulesOf(const options::ServerOptions& options);

  options::CrlMode BuildCrl(v1::Crl crl, const std::string& path);

  // Notes that `pattern`, at `path`, needs the bundle of its trust domain, or
  // the authorities of DNS names.
  void NoteTrustDomain(absl::string_view pattern, const std::string& path);
  void CheckBundles();

  const v1::Config& config_;
  // A trust domain that is named, and where it first is.
  struct Named {
    std::string domain;  // Empty: a peer is known by a DNS name.
    std::string path;
  };
  std::vector<Named> named_;
  std::map<std::string, std::string> places_;  // As MeshOptions has them.
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_BUILD_SECURITY_H_
