#include "mesh/options/service.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace mesh::options {

const MethodOptions& ServiceOptions::PolicyOf(absl::string_view method) const {
  if (methods.empty()) return policy;
  absl::ConsumePrefix(&method, "/");
  if (const auto exact = methods.find(method); exact != methods.end()) {
    return exact->second;
  }
  const size_t slash = method.rfind('/');
  if (slash == absl::string_view::npos) return policy;
  // '*' sorts before all that a method's name begins with, so "Service/*" is
  // the first key with this prefix; the loop hardly ever runs twice.
  const absl::string_view prefix = method.substr(0, slash + 1);
  for (auto it = methods.lower_bound(prefix);
       it != methods.end() && absl::StartsWith(it->first, prefix); ++it) {
    const absl::string_view rest =
        absl::string_view(it->first).substr(prefix.size());
    if (rest == "*") return it->second;
    if (rest > "*") break;
  }
  return policy;
}

bool ServiceOptions::AllIdempotent() const {
  return policy.idempotent.value_or(false) &&
         std::all_of(methods.begin(), methods.end(), [](const auto& method) {
           return method.second.idempotent.value_or(false);
         });
}

}  // namespace mesh::options
