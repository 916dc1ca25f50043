#include "mesh/front/identities.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/config/text.h"
#include "mesh/security/files.h"
#include "mesh/security/workload_api.h"

namespace mesh::front {
namespace {

constexpr char kProcess[] = "process";

security::IdentityPaths NamedBy(const options::IdentityFiles& options) {
  security::IdentityPaths files;
  files.cert = options.cert;
  files.key = options.key;
  files.bundles = options.bundles;
  if (!options.ca.empty()) files.bundles[""] = options.ca;
  files.crls = options.crl;
  return files;
}

bool HasName(const NamedIdentities& identities, const std::string& name) {
  for (const auto& [files, holder] : identities.own) {
    if (holder->name() == name) return true;
  }
  return false;
}

// Metrics of two identities are told apart by their names.
std::string UnusedName(const std::string& service,
                       const NamedIdentities& before,
                       const NamedIdentities& now) {
  std::string name = service;
  for (int i = 2;
       name == kProcess || HasName(before, name) || HasName(now, name); ++i) {
    name = absl::StrCat(service, "#", i);
  }
  return name;
}

// Fields, by their paths, and the file that each names.
using Fields = std::vector<std::pair<std::string, std::string>>;

Fields FieldsOf(const options::IdentityFiles& files, const std::string& path) {
  Fields fields = {{config::FieldPath(path, "cert"), files.cert},
                   {config::FieldPath(path, "key"), files.key},
                   {config::FieldPath(path, "ca"), files.ca}};
  for (size_t i = 0; i < files.crl.size(); ++i) {
    fields.emplace_back(
        config::IndexPath(config::FieldPath(path, "crl"), static_cast<int>(i)),
        files.crl[i]);
  }
  for (const auto& [domain, file] : files.bundles) {
    fields.emplace_back(
        config::KeyPath(config::FieldPath(path, "bundles"), domain), file);
  }
  return fields;
}

Fields FieldsOf(const options::TlsOptions& tls, const std::string& path) {
  return {{config::FieldPath(path, "ca_file"), tls.ca_file},
          {config::FieldPath(path, "cert_file"), tls.cert_file},
          {config::FieldPath(path, "key_file"), tls.key_file}};
}

// Where the field `path` stands: "mesh.yaml:3:5: ". Empty: nobody knows.
std::string PlaceOf(const options::MeshOptions& options,
                    const std::string& path) {
  const auto found = options.places.find(path);
  return found != options.places.end() ? found->second : "";
}

// What is wrong with the field `path`.
absl::Status Wrong(const options::MeshOptions& options, const std::string& path,
                   const absl::Status& why) {
  // A file that cannot be read is a bad configuration, too.
  const absl::StatusCode code = absl::IsUnavailable(why)
                                    ? absl::StatusCode::kInvalidArgument
                                    : why.code();
  return absl::Status(
      code, absl::StrCat(PlaceOf(options, path), path, ": ", why.message()));
}

// Why the files that `fields` name, below `path`, make no source.
absl::Status WrongFiles(const options::MeshOptions& options,
                        const std::string& path, const Fields& fields,
                        const absl::Status& why) {
  // One that cannot be read is the only one that is named then.
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const auto& field) {
        return absl::StrContains(why.message(),
                                 absl::StrCat("\"", field.second, "\""));
      });
  const bool is_one = absl::IsUnavailable(why) && found != fields.end();
  return Wrong(options, is_one ? found->first : path, why);
}

}  // namespace

bool HasFiles(const options::TlsOptions& tls) {
  return !tls.ca_file.empty() || !tls.cert_file.empty() ||
         !tls.key_file.empty();
}

bool IsTls(const options::ServiceOptions& service) {
  return service.tls.has_value() &&
         service.tls->mode == options::TlsOptions::Mode::kTls;
}

std::shared_ptr<IdentityHolder> NamedIdentities::Own(
    const security::IdentityPaths& files) const {
  for (const auto& [known, holder] : own) {
    if (known == files) return holder;
  }
  return nullptr;
}

std::shared_ptr<IdentityHolder> NamedIdentities::Of(
    const options::TlsOptions& tls) const {
  if (process != nullptr && !HasFiles(tls)) return process;
  return Own(security::FilesOf(tls));
}

Identities::Identities(std::shared_ptr<service::Runtime> runtime,
                       std::shared_ptr<GenerationCounter> generations,
                       std::shared_ptr<security::IdentitySource> given)
    : runtime_(std::move(runtime)),
      generations_(std::move(generations)),
      given_(std::move(given)) {}

absl::StatusOr<NamedIdentities> Identities::For(
    const options::MeshOptions& options, const NamedIdentities& before,
    const std::function<bool(const std::string& name)>& is_given) {
  NamedIdentities identities;
  if (options.identity.has_value()) {
    const absl::Status status = AddProcess(options, before, &identities);
    if (!status.ok()) return status;
  } else if (given_ != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        PlaceOf(options, ""),
        "Options::identity is set, but the configuration has no identity. "
        "Write \"identity: {}\" there."));
  }
  for (const auto& [name, service] : options.services) {
    if (!IsTls(*service) || is_given(name)) continue;
    if (identities.Of(*service->tls) != nullptr) continue;
    const security::IdentityPaths files = security::FilesOf(*service->tls);
    std::shared_ptr<IdentityHolder> holder = before.Own(files);
    if (holder == nullptr) {
      auto source = MakeFiles(files);
      if (!source.ok()) {
        const std::string path =
            config::FieldPath(config::KeyPath("services", name), "tls");
        return WrongFiles(options, path, FieldsOf(*service->tls, path),
                          source.status());
      }
      holder = IdentityHolder::Make(UnusedName(name, before, identities),
                                    runtime_, generations_, *std::move(source),
                                    absl::ZeroDuration());
    }
    identities.own.emplace_back(files, std::move(holder));
  }
  return identities;
}

absl::Status Identities::AddProcess(const options::MeshOptions& options,
                                    const NamedIdentities& before,
                                    NamedIdentities* identities) {
  const options::IdentityOptions& identity = *options.identity;
  identities->source = identity.source;
  // The application's source is the same, whatever else is written.
  const bool same = before.process != nullptr &&
                    (is_given() || before.source == identity.source);
  if (same) {
    identities->process = before.process;
    return absl::OkStatus();
  }
  auto source = MakeSource(options);
  if (!source.ok()) return source.status();
  identities->process =
      IdentityHolder::Make(kProcess, runtime_, generations_, *std::move(source),
                           identity.start_timeout, before.process);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<security::IdentitySource>>
Identities::MakeSource(const options::MeshOptions& options) {
  // What is given in code comes first, as credentials do.
  if (is_given()) return given_;
  const options::IdentitySourceOptions& written = options.identity->source;
  if (const auto* const files = std::get_if<options::IdentityFiles>(&written)) {
    const std::string path = "identity.files";
    auto source = MakeFiles(NamedBy(*files));
    return source.ok() ? std::move(source)
                       : WrongFiles(options, path, FieldsOf(*files, path),
                                    source.status());
  }
  const auto* const agent = std::get_if<options::SpiffeSource>(&written);
  if (agent == nullptr) {
    return Wrong(
        options, "identity",
        absl::InvalidArgumentError(
            "it has neither spiffe nor files, and Options::identity is "
            "not set."));
  }
  std::string socket = agent->socket;
  if (socket.empty()) {
    const char* const variable = std::getenv("SPIFFE_ENDPOINT_SOCKET");
    if (variable == nullptr || *variable == '\0') {
      return Wrong(options, "identity.spiffe",
                   absl::InvalidArgumentError(
                       "it is empty, and the environment variable "
                       "SPIFFE_ENDPOINT_SOCKET is not set."));
    }
    socket = variable;
  }
  auto source = security::WorkloadApiSource::Make(
      socket, {agent->id, agent->hint}, Loop());
  if (!source.ok()) {
    return Wrong(options, "identity.spiffe", source.status());
  }
  return std::shared_ptr<security::IdentitySource>(*std::move(source));
}

absl::StatusOr<std::shared_ptr<security::IdentitySource>> Identities::MakeFiles(
    security::IdentityPaths files) {
  if (files == security::IdentityPaths()) {
    // Shows nothing, and trusts the system's authorities.
    auto nothing = security::Identity::Make({}, base::WallTime());
    if (!nothing.ok()) return nothing.status();
    return std::make_shared<security::IdentitySource::Static>(
        *std::move(nothing));
  }
  auto source = security::FileSource::Make(std::move(files), Loop());
  if (!source.ok()) return source.status();
  return std::shared_ptr<security::IdentitySource>(*std::move(source));
}

std::shared_ptr<base::EventLoop> Identities::Loop() {
  // There may be threads by now.
  if (loop_ == nullptr || !loop_->failure().empty()) {
    loop_ = std::make_shared<base::EventLoop>("mesh-identity");
  }
  return loop_;
}

}  // namespace mesh::front
