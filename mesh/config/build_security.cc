#include "mesh/config/build_security.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "mesh/base/file.h"
#include "mesh/config/address.h"
#include "mesh/config/fields.h"
#include "mesh/config/text.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/security/rule_check.h"
#include "mesh/security/spiffe_id.h"

namespace mesh::config {
namespace {

constexpr char kNoIdentity[] =
    "needs an identity: write identity with files or spiffe, or "
    "\"identity: {}\" where the application gives it";

// "unix:///run/agent.sock" or "tcp://127.0.0.1:8081" (SPIFFE Workload Endpoint,
// section 4); also "unix:/run/agent.sock" and "tcp:127.0.0.1:8081", as gRPC has
// them.
bool IsAgent(absl::string_view text) {
  if (absl::ConsumePrefix(&text, "unix:")) {
    if (absl::StartsWith(text, "//")) text.remove_prefix(2);
    return ValidateAddress(absl::StrCat("unix:", text)).ok();
  }
  if (!absl::ConsumePrefix(&text, "tcp:")) return false;
  absl::ConsumePrefix(&text, "//");
  return !absl::StartsWith(text, "unix:") && ValidateAddress(text).ok();
}

options::ServerMode ModeOf(v1::Server::Listening mode) {
  switch (mode) {
    case v1::Server::PERMISSIVE:
      return options::ServerMode::kPermissive;
    case v1::Server::PLAINTEXT:
      return options::ServerMode::kPlaintext;
    default:
      return options::ServerMode::kStrict;
  }
}

// `pattern` of `identity.peer` for the service `name`: "{service}" stands for
// it. INVALID_ARGUMENT: that is no peer.
absl::StatusOr<std::string> PeerOfService(absl::string_view pattern,
                                          absl::string_view name) {
  std::string peer = absl::StrReplaceAll(pattern, {{"{service}", name}});
  const auto parsed = security::PeerPattern::Parse(peer);
  if (!parsed.ok()) return parsed.status();
  return peer;
}

}  // namespace

void SecurityBuilder::Build(options::MeshOptions* options) {
  if (config_.has_identity()) {
    BuildIdentity(&options->identity.emplace());
  } else if (!config_.has_server()) {
    options->server.mode = options::ServerMode::kPlaintext;
  }
  if (config_.has_server()) BuildServer(&options->server);
  CheckBundles();
  for (const char* path :
       {"", "identity", "identity.files", "identity.spiffe"}) {
    KeepPlace(path);
  }
  options->places = std::move(places_);
}

void SecurityBuilder::KeepPlace(const std::string& path) {
  if (!sources_.Has(path)) return;
  places_[path] = PlaceText(context_.file, sources_.Find(path));
}

// ---- Identity ----

void SecurityBuilder::BuildIdentity(options::IdentityOptions* options) {
  const v1::Identity& identity = config_.identity();
  Fields(identity).GetAll(options);
  if (identity.has_spiffe() && identity.has_files()) {
    Add(sources_.Find("identity.files"),
        "identity must have only one of spiffe and files");
  }
  for (const char* field : {"id", "hint"}) {
    Needs(identity, "identity", field, "spiffe");
  }
  if (identity.has_files()) options->source = BuildFiles();
  if (identity.has_spiffe()) options->source = BuildSpiffe();
  CheckPeerPattern();
}

options::SpiffeSource SecurityBuilder::BuildSpiffe() {
  const v1::Identity& identity = config_.identity();
  options::SpiffeSource source;
  Fields(identity).GetAll(&source);
  if (!source.socket.empty() && !IsAgent(source.socket)) {
    Add(sources_.Find("identity.spiffe"),
        "identity.spiffe must be \"unix:///path\" or \"tcp://address:port\", "
        "but is ",
        Quoted(source.socket));
  }
  if (!source.id.empty() && !source.hint.empty()) {
    Add(sources_.Find("identity.hint"),
        "identity must have only one of id and hint");
  }
  if (!source.id.empty()) {
    const auto id = security::SpiffeId::Parse(source.id);
    if (!id.ok()) {
      Add(sources_.Find("identity.id"), "identity.id: ", id.status().message());
    } else if (id->path().empty()) {
      Add(sources_.Find("identity.id"),
          "identity.id must name a workload, but has no path: ",
          Quoted(source.id));
    }
  }
  return source;
}

options::IdentityFiles SecurityBuilder::BuildFiles() {
  const v1::IdentityFiles& files = config_.identity().files();
  const std::string path = "identity.files";
  Needs(files, path, "cert", "key");
  Needs(files, path, "key", "cert");
  options::IdentityFiles options;
  options.cert = Resolve(files.cert(), FieldPath(path, "cert"));
  options.key = Resolve(files.key(), FieldPath(path, "key"));
  options.ca = Resolve(files.ca(), FieldPath(path, "ca"));
  for (int i = 0; i < files.crl_size(); ++i) {
    const std::string at = IndexPath(FieldPath(path, "crl"), i);
    options.crl.push_back(Resolve(files.crl(i), at));
    if (files.crl(i).empty() && !sources_.IsBad(at)) {
      Add(sources_.Find(at), at, " must not be empty");
    }
  }
  for (const auto& [domain, file] : files.bundles()) {
    const std::string at = KeyPath(FieldPath(path, "bundles"), domain);
    options.bundles[domain] = Resolve(file, at);
    if (file.empty() && !sources_.IsBad(at)) {
      Add(sources_.Find(at), at, " must not be empty");
    }
    const absl::Status status = security::SpiffeId::CheckTrustDomain(domain);
    if (!status.ok()) Add(sources_.Find(at), at, ": ", status.message());
  }
  if (options.ca.empty() && options.bundles.empty() &&
      !sources_.IsBad(FieldPath(path, "ca")) &&
      !sources_.IsBad(FieldPath(path, "bundles"))) {
    Add(sources_.Find(path), path,
        " must have ca or bundles: without authorities no peer is trusted");
  }
  if (!options.key.empty()) CheckKey(options.key, FieldPath(path, "key"));
  return options;
}

std::string SecurityBuilder::Resolve(const std::string& file,
                                     const std::string& path) {
  if (file.empty()) return "";
  KeepPlace(path);
  std::string resolved = base::ResolvePath(file, context_.file);
  const absl::StatusOr<std::string> content = base::ReadFile(resolved);
  if (!content.ok()) {
    Warn(sources_.Find(path), path, ": ", content.status().message());
  }
  return resolved;
}

void SecurityBuilder::CheckKey(const std::string& file,
                               const std::string& path) {
  struct stat info;
  if (stat(file.c_str(), &info) == 0 && (info.st_mode & S_IROTH) != 0) {
    Warn(sources_.Find(path), path,
         ": all users of this machine may read the file ", file,
         ". Take that right away (chmod o-r)");
  }
}

// Errors of a pattern that is bad for each service are reported once.
void SecurityBuilder::CheckPeerPattern() {
  const std::string& pattern = config_.identity().peer();
  if (pattern.empty()) return;
  const auto peer = PeerOfService(pattern, "service");
  if (!peer.ok()) {
    Add(sources_.Find("identity.peer"),
        "identity.peer: ", peer.status().message());
  } else {
    NoteTrustDomain(*peer, "identity.peer");
  }
}

// ---- Services ----

std::optional<options::TlsOptions> SecurityBuilder::BuildTls(
    const std::string& name, const v1::Service& service,
    const std::string& path) {
  if (service.has_tls()) {
    KeepPlace(FieldPath(path, "tls"));
    return BuildTlsFields(service.tls(), FieldPath(path, "tls"));
  }
  const std::string& pattern = config_.identity().peer();
  if (pattern.empty() || !PeerOfService(pattern, "service").ok()) {
    return std::nullopt;
  }
  options::TlsOptions options;
  const auto peer = PeerOfService(pattern, name);
  if (peer.ok()) {
    options.peer = {*peer};
  } else {
    Add(sources_.Find(path), path,
        " needs a tls of its own: identity.peer "
        "makes no peer of its name. ",
        peer.status().message());
  }
  return options;
}

options::TlsOptions SecurityBuilder::BuildTlsFields(const v1::Tls& tls,
                                                    const std::string& path) {
  options::TlsOptions options;
  if (tls.mode() == v1::Tls::PLAINTEXT) {
    options.mode = options::TlsOptions::Mode::kPlaintext;
    CheckNothingBesidePlaintext(tls, path);
    return options;
  }
  if (tls.cert_file().empty() != tls.key_file().empty()) {
    const bool has_cert = !tls.cert_file().empty();
    const char* const given = has_cert ? "cert_file" : "key_file";
    Add(sources_.Find(FieldPath(path, given)), path, " has ", given, " but no ",
        has_cert ? "key_file" : "cert_file", "; it needs both or none");
  }
  options.ca_file = Resolve(tls.ca_file(), FieldPath(path, "ca_file"));
  options.cert_file = Resolve(tls.cert_file(), FieldPath(path, "cert_file"));
  options.key_file = Resolve(tls.key_file(), FieldPath(path, "key_file"));
  if (!options.key_file.empty()) {
    CheckKey(options.key_file, FieldPath(path, "key_file"));
  }
  BuildPeers(tls, FieldPath(path, "peer"), &options);
  options.crl = BuildCrl(tls.crl(), FieldPath(path, "crl"));
  return options;
}

void SecurityBuilder::CheckNothingBesidePlaintext(const v1::Tls& tls,
                                                  const std::string& path) {
  const auto& reflection = *tls.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> given;
  reflection.ListFields(tls, &given);
  for (const auto* field : given) {
    if (field->name() == "mode") continue;
    const std::string at = FieldPath(path, field->name());
    Add(sources_.Find(at), at, " does nothing where mode is plaintext");
  }
}

void SecurityBuilder::BuildPeers(const v1::Tls& tls, const std::string& path,
                                 options::TlsOptions* options) {
  if (tls.peer().empty()) {
    if (sources_.Has(path) && !sources_.IsBad(path)) {
      Add(sources_.Find(path), path, " must not be empty");
    }
    return;
  }
  const bool own_files = !options->ca_file.empty() ||
                         !options->cert_file.empty() ||
                         !options->key_file.empty();
  if (own_files && options->ca_file.empty()) {
    Add(sources_.Find(path), path,
        " needs ca_file beside it: the system's authorities vouch for no such "
        "name");
  } else if (!own_files && !config_.has_identity()) {
    Add(sources_.Find(path), path, " ", kNoIdentity);
  }
  for (int i = 0; i < tls.peer_size(); ++i) {
    options->peer.push_back(tls.peer(i));
    const std::string at = IndexPath(path, i);
    if (sources_.IsBad(at)) continue;
    const auto pattern = security::PeerPattern::Parse(tls.peer(i));
    if (!pattern.ok()) {
      Add(sources_.Find(at), at, ": ", pattern.status().message());
    } else if (!own_files) {
      NoteTrustDomain(tls.peer(i), at);
    }
  }
}

options::CrlMode SecurityBuilder::BuildCrl(v1::Crl crl,
                                           const std::string& path) {
  switch (crl) {
    case v1::CRL_REQUIRE:
      return options::CrlMode::kRequire;
    case v1::CRL_IF_PRESENT:
      if (config_.identity().has_files() &&
          config_.identity().files().crl().empty()) {
        Warn(sources_.Find(path), path,
             " is if_present, but identity.files.crl names no list: nobody is "
             "refused for it");
      }
      return options::CrlMode::kIfPresent;
    default:
      return options::CrlMode::kDefault;
  }
}

// ---- The server ----

void SecurityBuilder::BuildServer(options::ServerOptions* options) {
  const v1::Server& server = config_.server();
  options->mode = ModeOf(server.mode());
  if (server.rules() == v1::Server::OBSERVE) {
    options->rules = options::Mode::kObserve;
  }
  options->crl = BuildCrl(server.crl(), "server.crl");
  options->allow = BuildRules(server.allow(), "server.allow");
  options->deny = BuildRules(server.deny(), "server.deny");
  const bool has_mode = sources_.Has("server.mode");
  if (options->mode != options::ServerMode::kPlaintext &&
      !sources_.IsBad("server.mode")) {
    const Position at = sources_.Find(has_mode ? "server.mode" : "server");
    const char* const mode =
        options->mode == options::ServerMode::kStrict ? "strict" : "permissive";
    if (!config_.has_identity()) {
      Add(at, "server.mode is ", mode, ", which ", kNoIdentity);
    } else if (config_.identity().has_files() &&
               config_.identity().files().cert().empty() &&
               config_.identity().files().key().empty()) {
      Add(at, "server.mode is ", mode,
          ", which needs a certificate: write identity.files.cert and "
          "identity.files.key");
    }
  }
  CheckRulesOf(*options);
}

std::vector<options::Rule> SecurityBuilder::BuildRules(
    const google::protobuf::RepeatedPtrField<v1::Rule>& rules,
    const std::string& path) {
  std::vector<options::Rule> all;
  for (int i = 0; i < rules.size(); ++i) {
    const v1::Rule& rule = rules[i];
    const std::string at = IndexPath(path, i);
    options::Rule built;
    built.from.assign(rule.from().begin(), rule.from().end());
    built.methods.assign(rule.methods().begin(), rule.methods().end());
    std::map<std::string, const v1::HeaderMatch*> headers;  // In order.
    for (const auto& [name, header] : rule.headers()) headers[name] = &header;
    for (const auto& [name, header] : headers) {
      built.headers.push_back(
          BuildHeader(name, *header, KeyPath(FieldPath(at, "headers"), name)));
    }
    // A list that a program wrote and that came out empty.
    for (const auto& [field, size] :
         {std::make_pair("from", built.from.size()),
          std::make_pair("methods", built.methods.size()),
          std::make_pair("headers", built.headers.size())}) {
      const std::string part = FieldPath(at, field);
      if (size == 0 && sources_.Has(part) && !sources_.IsBad(part)) {
        Add(sources_.Find(part), part, " must not be empty");
        sources_.SetBad(part);
      }
    }
    for (size_t j = 0; j < built.from.size(); ++j) {
      NoteTrustDomain(built.from[j],
                      IndexPath(FieldPath(at, "from"), static_cast<int>(j)));
    }
    all.push_back(std::move(built));
  }
  return all;
}

options::HeaderMatch SecurityBuilder::BuildHeader(const std::string& name,
                                                  const v1::HeaderMatch& header,
                                                  const std::string& path) {
  using Kind = options::HeaderMatch::Kind;
  const auto only_true = [&](const char* field, bool value) {
    const std::string at = FieldPath(path, field);
    if (value || sources_.IsBad(at)) return;
    Add(sources_.Find(at), at,
        " must be true: \"present\" and \"absent\" are "
        "each other's opposite");
  };
  switch (header.match_case()) {
    case v1::HeaderMatch::kExact:
      return {name, Kind::kExact, header.exact()};
    case v1::HeaderMatch::kPrefix:
      return {name, Kind::kPrefix, header.prefix()};
    case v1::HeaderMatch::kPresent:
      only_true("present", header.present());
      return {name, Kind::kPresent, ""};
    case v1::HeaderMatch::kAbsent:
      only_true("absent", header.absent());
      return {name, Kind::kAbsent, ""};
    case v1::HeaderMatch::MATCH_NOT_SET:
      break;
  }
  bool reported = sources_.IsBad(path);
  for (const char* field : {"exact", "prefix", "present", "absent"}) {
    reported = reported || sources_.IsBad(FieldPath(path, field));
  }
  if (!reported) {
    Add(sources_.Find(path), path,
        " must have one of exact, prefix, present and absent");
  }
  return {name, Kind::kPresent, ""};
}

void SecurityBuilder::CheckRulesOf(const options::ServerOptions& options) {
  using Part = security::RuleProblem::Part;
  for (const auto& problem : security::RuleProblems(options)) {
    std::string path = problem.deny ? "server.deny" : "server.allow";
    std::vector<std::string> around = {path};
    if (problem.rule >= 0) {
      path = IndexPath(path, problem.rule);
      around.push_back(path);
    }
    const auto go = [&](const char* field) {
      path = FieldPath(path, field);
      around.push_back(path);
    };
    switch (problem.part) {
      case Part::kRule:
        for (const char* field : {"from", "methods", "headers"}) {
          around.push_back(FieldPath(path, field));
        }
        break;
      case Part::kFrom:
        go("from");
        path = IndexPath(path, problem.item);
        break;
      case Part::kMethods:
        go("methods");
        path = IndexPath(path, problem.item);
        break;
      case Part::kHeaders: {
        go("headers");
        const auto& rules = problem.deny ? options.deny : options.allow;
        path = KeyPath(path, rules[problem.rule].headers[problem.item].name);
        break;
      }
    }
    around.push_back(path);
    // What could not be read is reported already.
    if (std::any_of(around.begin(), around.end(),
                    [this](const auto& at) { return sources_.IsBad(at); })) {
      continue;
    }
    Add(sources_.Find(path), path, problem.message);
  }
}

// ---- Trust domains ----

void SecurityBuilder::NoteTrustDomain(absl::string_view pattern,
                                      const std::string& path) {
  std::string domain;  // Empty for a DNS name.
  if (!absl::StartsWith(pattern, "dns:")) {
    absl::ConsumeSuffix(&pattern, "/*");
    const auto id = security::SpiffeId::Parse(pattern);
    if (!id.ok()) return;  // Reported, or "plaintext".
    domain = std::string(id->trust_domain());
  }
  if (std::none_of(named_.begin(), named_.end(), [&](const Named& named) {
        return named.domain == domain;
      })) {
    named_.push_back({domain, path});
  }
}

void SecurityBuilder::CheckBundles() {
  if (!config_.identity().has_files() || config_.identity().has_spiffe()) {
    return;
  }
  const v1::IdentityFiles& files = config_.identity().files();
  const bool has_ca = !files.ca().empty();
  if (!has_ca && files.bundles().empty()) return;  // Reported.
  std::vector<Named> without;
  for (const Named& named : named_) {
    if (!named.domain.empty()) {
      if (!files.bundles().contains(named.domain)) without.push_back(named);
    } else if (!has_ca) {
      Add(sources_.Find(named.path), named.path,
          ": no authority vouches for DNS names: write identity.files.ca");
    }
  }
  // `ca` is for one domain: that of this process, whose name stands only in its
  // certificate.
  if (has_ca && without.size() <= 1) return;
  for (const Named& named : without) {
    Add(sources_.Find(named.path), named.path, ": the trust domain ",
        Quoted(named.domain),
        " has no bundle: add its authorities to identity.files.bundles",
        has_ca ? ". identity.files.ca is for one domain only" : "");
  }
}

}  // namespace mesh::config
