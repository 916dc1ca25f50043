// The JSON reader and the reader of gRPC service configs, from any bytes.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/config/service_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  mesh::config::Problems problems("fuzz.json");
  const mesh::config::GrpcServiceConfig config =
      mesh::config::ParseGrpcServiceConfig(text, &problems);
  if (!problems.empty()) return 0;
  for (const auto& [pattern, method] : config.methods) {
    if (config.Find(pattern) != &method) abort();
    // A hedging policy without non-fatal codes retries nothing: one attempt.
    const int least = method.hedging.has_value() ? 1 : 2;
    if (method.hedging.has_value() &&
        (!method.retry.has_value() || method.hedging->max_attempts < 2 ||
         method.hedging->max_attempts > 5 ||
         !(method.hedging->delay > absl::ZeroDuration()))) {
      abort();
    }
    if (!method.retry.has_value()) continue;
    if (method.retry->max_attempts < least || method.retry->max_attempts > 5 ||
        !(method.retry->backoff_multiplier > 0) ||
        method.retry->initial_backoff > method.retry->max_backoff) {
      abort();
    }
  }
  return 0;
}
