// The reader of endpoints files, from any bytes.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "mesh/config/loader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto set = mesh::config::ParseEndpoints(text, "fuzz.yaml");
  if (!set.ok()) {
    if (set.status().code() != absl::StatusCode::kInvalidArgument) abort();
    return 0;
  }
  std::set<std::string> addresses;
  for (const mesh::cluster::Endpoint& endpoint : (*set)->endpoints) {
    if (endpoint.weight == 0 || endpoint.priority > 127 ||
        !mesh::config::ValidateAddress(endpoint.address).ok() ||
        !addresses.insert(endpoint.address).second) {
      abort();
    }
  }
  return 0;
}
