#ifndef MESH_CONFIG_TEXT_H_
#define MESH_CONFIG_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Small parts of messages about a configuration: names, paths, durations.

namespace mesh::config {

// `text` in double quotes, control characters escaped, the rest of a long one
// left out.
std::string Quoted(absl::string_view text);

// Whether UTF-8 `text` begins with one of the control characters U+0080 to
// U+009F, which take two bytes.
bool IsC1(absl::string_view text);

// The most bytes of a map's key. However it is escaped, a printed one then has
// less than the 1,024 characters that YAML allows.
inline constexpr size_t kMostOfKey = 253;

// Paths of fields: `services.cart`, `methods["shop.Cart/*"]`, `endpoints[3]`.
// No two fields have the same, so a path says which field is meant. A key is
// never cut; kMostOfKey bounds those that were read.
std::string FieldPath(absl::string_view parent, absl::string_view field);
std::string KeyPath(absl::string_view parent, absl::string_view key);
std::string IndexPath(absl::string_view parent, int index);

// The one of `candidates` that `word` is most likely a slip of the pen for:
// the least edit distance (insert, delete, replace, swap of neighbours), case
// and '_' and '-' aside. Empty when none is near.
std::string Nearest(absl::string_view word,
                    const std::vector<std::string>& candidates);

// `; did you mean "x"?` or nothing.
std::string DidYouMean(absl::string_view word,
                       const std::vector<std::string>& candidates);

// How DurationFromText() went.
enum class DurationText { kGood, kNoDuration, kTooFine, kTooLong };

// "1.5s", "250ms": a decimal number and one of ns, us, ms, s, m, h. It is too
// fine when nanoseconds do not hold it, and too long beyond ten thousand years.
// `duration` is set when it is good.
DurationText DurationFromText(absl::string_view text, absl::Duration* duration);

// A duration as DurationFromText() reads it, in the unit that suits it: "90s",
// "1.5ms", "24h". "inf" for an infinite one.
std::string DurationToText(absl::Duration duration);

// The shortest text that reads back to the same number.
std::string NumberText(double value);

}  // namespace mesh::config

#endif  // MESH_CONFIG_TEXT_H_
