#ifndef EXAMPLES_SHOP_CALLS_H_
#define EXAMPLES_SHOP_CALLS_H_

#include <chrono>
#include <cstdint>

namespace shop {

// The services behind the frontend.
constexpr const char* kServices[] = {"cart", "catalog", "payment"};

// What a visitor does, and how the load generator writes it down.

enum class Kind : uint8_t {
  kViewItem,
  kViewCart,
  kAddItem,
  kQuote,
  kCheckout,
  kSearch,
  kWatchCart,
  kUpload,
};

// How a call may be treated when it fails, and so what it is counted as.
enum class Class : uint8_t {
  kIdempotent,  // Unary; doing it again does no harm.
  kOnce,        // Unary; must not be done twice.
  kStream,
};

constexpr Class ClassOf(Kind kind) {
  switch (kind) {
    case Kind::kViewItem:
    case Kind::kViewCart:
    case Kind::kAddItem:
    case Kind::kQuote:
      return Class::kIdempotent;
    case Kind::kCheckout:
      return Class::kOnce;
    case Kind::kSearch:
    case Kind::kWatchCart:
    case Kind::kUpload:
      break;
  }
  return Class::kStream;
}

// The service behind the frontend that a visitor's call goes to.
constexpr const char* ServiceOf(Kind kind) {
  switch (kind) {
    case Kind::kViewCart:
    case Kind::kAddItem:
    case Kind::kWatchCart:
      return "cart";
    case Kind::kQuote:
    case Kind::kCheckout:
      return "payment";
    case Kind::kViewItem:
    case Kind::kSearch:
    case Kind::kUpload:
      break;
  }
  return "catalog";
}

// One call that ended. The load generator appends these, as they are in
// memory, to its results file.
struct CallRecord {
  // When the call was due: nanoseconds of the system's monotonic clock, which
  // all processes share.
  int64_t due_ns;
  // From due to ended. A call that starts late pays for it here.
  int64_t latency_ns;
  // From due to started.
  int64_t late_ns;
  Kind kind;
  uint8_t status;  // gRPC's code.
  uint8_t unused[6];
};
static_assert(sizeof(CallRecord) == 32, "no padding goes to the file");

inline int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace shop

#endif  // EXAMPLES_SHOP_CALLS_H_
