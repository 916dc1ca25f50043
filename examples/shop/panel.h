#ifndef EXAMPLES_SHOP_PANEL_H_
#define EXAMPLES_SHOP_PANEL_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace shop {

// What the demo's conductor and one process of the shop share: knobs that the
// conductor turns and counters that it reads. It is a page of memory mapped
// from a file, so it survives kill -9 and can be read of a stopped process.
// All members are atomic and may be used by any thread of any process.
struct Panel {
  // Turned by the conductor.
  std::atomic<uint32_t> slowdown;      // Service time is this often as long.
  std::atomic<uint32_t> fail_percent;  // Share of calls to fail.

  // Counted by a server.
  std::atomic<uint64_t> calls;    // Calls that arrived.
  std::atomic<uint64_t> repeats;  // Calls with grpc-previous-rpc-attempts.

  // Counted by a client, as far as it knows.
  std::atomic<uint64_t> retries;  // By policy.
  // No server had seen the attempt before.
  std::atomic<uint64_t> transparent_retries;
  std::atomic<uint64_t> denied_retries;  // The budget was empty.

  // Noted by a client: how many certificates it has shown after its first one.
  std::atomic<uint64_t> renewals;

  // Noted by a client of each service, as kServices has them: how often one of
  // its servers was taken out of use, and how many are right now.
  struct Health {
    std::atomic<uint64_t> suspected;  // Silent.
    std::atomic<uint64_t> ejected;    // Failing, or slow.
    std::atomic<uint64_t> out;
  };
  Health health[3];
};

// Maps `path`, which is made, with all zero, when it is missing. The mapping
// lasts as long as the process.
absl::StatusOr<Panel*> OpenPanel(const std::string& path);

}  // namespace shop

#endif  // EXAMPLES_SHOP_PANEL_H_
