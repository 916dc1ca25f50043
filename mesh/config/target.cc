#include "mesh/config/target.h"

#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/address.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

// What gRPC connects to where no port is given, with and without TLS.
constexpr absl::string_view kDefaultPort = "443";

constexpr absl::string_view kNamesTarget =
    "; the target of a name is dns:///host:port";

template <typename... Parts>
absl::Status Bad(absl::string_view target, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the target ", Quoted(target), " cannot be used: ", parts..., "."));
}

// The scheme of a URI: what stands before the first colon, if it may be one.
absl::string_view SchemeOf(absl::string_view target) {
  const absl::string_view scheme = target.substr(0, target.find(':'));
  const bool good =
      scheme.size() < target.size() && !scheme.empty() &&
      absl::ascii_isalpha(scheme[0]) &&
      std::all_of(scheme.begin(), scheme.end(), [](char c) {
        return absl::ascii_isalnum(c) || c == '+' || c == '-' || c == '.';
      });
  return good ? scheme : "";
}

// A host and what it is to be asked at. Only an IPv6 address has colons of its
// own; it stands in brackets where a port follows.
struct HostPort {
  std::string host;  // Without brackets.
  uint16_t port = 0;
};

std::optional<HostPort> SplitHostPort(absl::string_view text,
                                      absl::string_view default_port) {
  absl::string_view host = text, port = default_port;
  if (absl::ConsumePrefix(&host, "[")) {
    const size_t end = host.find(']');
    if (end == absl::string_view::npos) return std::nullopt;
    absl::string_view rest = host.substr(end + 1);
    host = host.substr(0, end);
    if (!ValidateAddress(absl::StrCat("[", host, "]:1")).ok()) {
      return std::nullopt;
    }
    if (absl::ConsumePrefix(&rest, ":")) {
      port = rest;
    } else if (!rest.empty()) {
      return std::nullopt;
    }
  } else if (const size_t colon = text.find(':');
             colon != absl::string_view::npos) {
    if (colon == text.rfind(':')) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
    } else if (!ValidateAddress(absl::StrCat("[", text, "]:1")).ok()) {
      return std::nullopt;
    }
  }
  if (port == "http") port = "80";
  if (port == "https") port = kDefaultPort;
  uint32_t number;
  // SimpleAtoi() also takes a sign and spaces.
  if (port.empty() || !absl::ascii_isdigit(port[0]) ||
      !absl::SimpleAtoi(port, &number) || number == 0 || number > 65535) {
    return std::nullopt;
  }
  return HostPort{std::string(host), static_cast<uint16_t>(number)};
}

// The address of `at` if its host is one, in the form that endpoints have.
std::optional<std::string> AddressOf(const HostPort& at) {
  for (const std::string& address :
       {absl::StrCat(at.host, ":", at.port),
        absl::StrCat("[", at.host, "]:", at.port)}) {
    if (ValidateAddress(address).ok()) return address;
  }
  return std::nullopt;
}

// Endpoints in the order in which they are added, each address once.
class Addresses {
 public:
  void Add(const std::string& address) {
    if (!seen_.insert(CanonicalAddress(address)).second) return;
    cluster::Endpoint endpoint;
    endpoint.address = address;
    set_->endpoints.push_back(std::move(endpoint));
  }
  bool empty() const { return set_->endpoints.empty(); }
  cluster::EndpointSetPtr Take() { return std::move(set_); }

 private:
  std::shared_ptr<cluster::EndpointSet> set_ =
      std::make_shared<cluster::EndpointSet>();
  std::set<std::string> seen_;
};

// `rest` is what follows "dns:", or a whole target without a scheme. The
// authority is the name as it was written, with its port if it has one.
absl::Status ReadName(absl::string_view target, absl::string_view rest,
                      options::TargetOptions* options) {
  std::vector<std::string> servers;
  if (absl::ConsumePrefix(&rest, "//")) {
    const absl::string_view server = rest.substr(0, rest.find('/'));
    rest.remove_prefix(server.size());
    if (!server.empty()) {
      const std::optional<HostPort> at = SplitHostPort(server, "53");
      const std::optional<std::string> address =
          at.has_value() ? AddressOf(*at) : std::nullopt;
      if (!address.has_value()) {
        return Bad(target, Quoted(server), " is no address of a name server",
                   kNamesTarget);
      }
      servers.push_back(*address);
    }
  }
  absl::ConsumePrefix(&rest, "/");
  const std::optional<HostPort> at = SplitHostPort(rest, kDefaultPort);
  if (!at.has_value()) {
    return Bad(target, "it has no host and port", kNamesTarget);
  }
  options->authority = std::string(rest);
  if (const auto address = AddressOf(*at)) {
    Addresses addresses;
    addresses.Add(*address);
    options->source = addresses.Take();
    return absl::OkStatus();
  }
  if (!ValidateHostName(at->host).ok() || EndsInNumber(at->host)) {
    return Bad(target, Quoted(at->host), " is no name and no address",
               kNamesTarget);
  }
  options::DnsOptions dns;
  dns.name = at->host;
  dns.port = at->port;
  dns.servers = std::move(servers);
  options->source = std::move(dns);
  return absl::OkStatus();
}

// The endpoint's address for `path` of one of gRPC's schemes of addresses.
absl::StatusOr<std::string> SchemeAddress(absl::string_view target,
                                          absl::string_view scheme,
                                          absl::string_view path) {
  if (scheme == "ipv4" || scheme == "ipv6") {
    absl::ConsumePrefix(&path, "/");
    const absl::Status valid = ValidateAddress(path);
    if (!valid.ok()) return Bad(target, valid.message());
    if (absl::StartsWith(path, "[") != (scheme == "ipv6")) {
      return Bad(target, Quoted(path), " is no address of ", scheme, ":");
    }
    return std::string(path);
  }
  const bool graphic = std::all_of(path.begin(), path.end(), [](char c) {
    return absl::ascii_isgraph(c) && c != '?' && c != '#';
  });
  if (path.empty() || !graphic) {
    return Bad(target, Quoted(path), " is no path of ", scheme, ":");
  }
  // The byte before an abstract name counts, and the one behind a path.
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Bad(target, "its path is longer than ",
               sizeof(sockaddr_un::sun_path) - 1, " bytes");
  }
  return absl::StrCat(scheme, ":", path);
}

absl::Status ReadAddresses(absl::string_view target, absl::string_view scheme,
                           options::TargetOptions* options) {
  absl::string_view path = target.substr(scheme.size() + 1);
  if (absl::ConsumePrefix(&path, "//") && !absl::StartsWith(path, "/")) {
    return Bad(target, scheme, ": has no authority; write ", scheme, ":",
               scheme[0] == 'u' ? "/path" : "address:port");
  }
  Addresses addresses;
  for (const absl::string_view part : absl::StrSplit(path, ',')) {
    if (part.empty()) continue;  // As gRPC does.
    // "unix:/a,unix:/b" and "unix:/a,10.0.0.7:80" are mesh's own form of a
    // list.
    if (!addresses.empty() && ValidateAddress(part).ok()) {
      addresses.Add(std::string(part));
      continue;
    }
    const auto address = SchemeAddress(target, scheme, part);
    if (!address.ok()) return address.status();
    addresses.Add(*address);
  }
  if (addresses.empty()) return Bad(target, "it has no address");
  options->authority = scheme[0] == 'u'
                           ? "localhost"
                           : std::string(absl::StripPrefix(path, "/"));
  options->source = addresses.Take();
  return absl::OkStatus();
}

// mesh's own form: addresses separated by commas. The first is the authority.
absl::Status ReadList(absl::string_view target,
                      options::TargetOptions* options) {
  Addresses addresses;
  for (const absl::string_view address : absl::StrSplit(target, ',')) {
    const absl::Status valid = ValidateAddress(address);
    if (!valid.ok()) {
      return Bad(target, valid.message(), kNamesTarget);
    }
    addresses.Add(std::string(address));
  }
  cluster::EndpointSetPtr set = addresses.Take();
  options->authority = set->endpoints.front().address;
  options->source = std::move(set);
  return absl::OkStatus();
}

absl::Status Read(absl::string_view target, options::TargetOptions* options) {
  const absl::string_view scheme = SchemeOf(target);
  if (scheme == "dns") return ReadName(target, target.substr(4), options);
  if (scheme == "ipv4" || scheme == "ipv6" || scheme == "unix" ||
      scheme == "unix-abstract") {
    return ReadAddresses(target, scheme, options);
  }
  if (absl::StrContains(target, ',')) return ReadList(target, options);
  // gRPC knows these, so they are no names of hosts.
  const bool other = scheme == "xds" || scheme == "vsock" ||
                     absl::StartsWith(scheme, "google-c2p");
  // gRPC puts "dns:///" before what has no scheme that it knows.
  if (!other && SplitHostPort(target, kDefaultPort).has_value()) {
    return ReadName(target, target, options);
  }
  if (!scheme.empty()) {
    return Bad(target, "mesh does not know the scheme ", Quoted(scheme),
               "; it knows "
               "dns:///host:port, ipv4:, ipv6:, unix: and unix-abstract:");
  }
  return ReadName(target, target, options);
}

}  // namespace

absl::StatusOr<options::TargetOptions> ParseTarget(absl::string_view target) {
  options::TargetOptions options;
  const absl::Status status = Read(target, &options);
  if (!status.ok()) return status;
  return options;
}

}  // namespace mesh::config
