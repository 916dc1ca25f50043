// The reader of configurations, from any bytes.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mesh/config/loader.h"

namespace {

void Require(bool condition) {
  if (!condition) abort();
}

void Load(absl::string_view text, const char* name) {
  const auto options = mesh::config::LoadText(text, name);
  if (!options.ok()) {
    // An error is one for people: each line has the name of the file.
    Require(options.status().code() == absl::StatusCode::kInvalidArgument);
    for (const absl::string_view line :
         absl::StrSplit(options.status().message(), '\n')) {
      Require(absl::StartsWith(line, name) || absl::StartsWith(line, "and "));
    }
    return;
  }
  for (const auto& [service_name, service] : options->services) {
    // What a valid configuration promises to the rooms that read it.
    Require(!service_name.empty() && service->name == service_name);
    Require(!service->authority.empty());
    service->AllIdempotent();
    service->PolicyOf("/a.B/C");
    for (const auto& [pattern, policy] : service->methods) {
      Require(&service->PolicyOf(pattern) == &policy);
      Require(policy.retry.max_attempts >= 1 &&
              policy.retry.max_attempts <= 10);
      Require(policy.retry.initial_backoff <= policy.retry.max_backoff);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  Load(text, "fuzz.yaml");
  Load(text, "fuzz.json");
  return 0;
}
