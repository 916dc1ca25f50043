#include "mesh/config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/config/text.h"

namespace mesh::config {
namespace {

constexpr absl::string_view kForms =
    "an address is \"IPv4:port\", \"[IPv6]:port\" or \"unix:/path\"";

absl::Status Bad(absl::string_view address, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(address), " ", reason));
}

bool IsIPv4(absl::string_view text) {
  in_addr parsed;
  return inet_pton(AF_INET, std::string(text).c_str(), &parsed) == 1;
}

bool IsIPv6(absl::string_view text, in6_addr* parsed) {
  return inet_pton(AF_INET6, std::string(text).c_str(), parsed) == 1;
}

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(c);
  });
}

bool IsPort(absl::string_view text) {
  int port;
  return IsNumber(text) && text[0] != '0' && absl::SimpleAtoi(text, &port) &&
         port <= 65535;
}

}  // namespace

absl::Status ValidateAddress(absl::string_view address) {
  for (const char c : address) {
    if (!absl::ascii_isgraph(c)) {
      return Bad(address, "has a character that no address has");
    }
  }
  if (absl::StartsWith(address, "unix:")) {
    const absl::string_view path = absl::StripPrefix(address, "unix:");
    if (!absl::StartsWith(path, "/") || path.size() < 2) {
      return Bad(address, "must have an absolute path, \"unix:/path\"");
    }
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Bad(address,
                 absl::StrCat("has a path of more than ",
                              sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return absl::OkStatus();
  }
  in6_addr v6;
  absl::string_view bare = address;
  if (absl::ConsumePrefix(&bare, "[") && !absl::ConsumeSuffix(&bare, "]")) {
    bare = "";
  }
  if (IsIPv6(bare, &v6) || IsIPv4(address)) {
    return Bad(address, absl::StrCat("has no port; ", kForms));
  }
  const size_t colon = address.rfind(':');
  if (address.empty() || colon == absl::string_view::npos) {
    return Bad(address, absl::StrCat("has no port; ", kForms));
  }
  const absl::string_view host = address.substr(0, colon);
  const absl::string_view port = address.substr(colon + 1);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    if (!IsIPv6(host.substr(1, host.size() - 2), &v6)) {
      return Bad(address,
                 absl::StrCat("has no IPv6 address in its brackets; ", kForms));
    }
  } else if (IsIPv6(host, &v6)) {
    return Bad(address,
               absl::StrCat("must have its IPv6 address in brackets, ",
                            Quoted(absl::StrCat("[", host, "]:", port))));
  } else if (!IsIPv4(host)) {
    // What stands before a text is the scheme of something else.
    if (ValidateHostName(host).ok() && !EndsInNumber(host) && IsNumber(port)) {
      return Bad(address,
                 "is a host name, not an IP address; use \"dns\" for a name");
    }
    return Bad(address, absl::StrCat("has no IP address; ", kForms));
  }
  if (!IsPort(port)) return Bad(address, "must have a port in 1..65535");
  return absl::OkStatus();
}

std::string CanonicalAddress(absl::string_view address) {
  in6_addr v6;
  const size_t end = address.rfind("]:");
  if (!absl::StartsWith(address, "[") || end == absl::string_view::npos ||
      !IsIPv6(address.substr(1, end - 1), &v6)) {
    return std::string(address);
  }
  char text[INET6_ADDRSTRLEN];
  return absl::StrCat("[", inet_ntop(AF_INET6, &v6, text, sizeof(text)),
                      address.substr(end));
}

absl::Status ValidateHostName(absl::string_view name) {
  absl::string_view rest = absl::StripSuffix(name, ".");
  bool good = !rest.empty() && rest.size() <= 253;
  for (const absl::string_view label : absl::StrSplit(rest, '.')) {
    good = good && !label.empty() && label.size() <= 63 &&
           label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(), [](char c) {
             return absl::ascii_isalnum(c) || c == '-' || c == '_';
           });
  }
  if (good) return absl::OkStatus();
  return Bad(name, "is not a host name");
}

bool EndsInNumber(absl::string_view name) {
  name = absl::StripSuffix(name, ".");
  const size_t dot = name.rfind('.');
  return IsNumber(dot == absl::string_view::npos ? name : name.substr(dot + 1));
}

}  // namespace mesh::config
