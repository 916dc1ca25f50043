#ifndef MESH_CONFIG_OLD_NAMES_H_
#define MESH_CONFIG_OLD_NAMES_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Names that fields of the configuration had once. Each gives an error that
// says what to write instead.

namespace mesh::config {

struct OldName {
  // The message in which `path` begins: "Service", "MethodPolicy", "Endpoint".
  const char* message;
  const char* path;  // "black_hole.ramp"
  // The path in the same message that has taken its place. Empty: none has.
  const char* now;
  // For one that has no new path: what acts in its place, as a sentence.
  const char* instead;
};

// All of them.
absl::Span<const OldName> OldNames();

// Whether the paths in OldNames() begin in a message of this name.
bool HasOldNames(absl::string_view message);

// The entry for `path` in `message`, also where `path` mixes a new group with
// an old name in it ("guards.breaker.probes", "silence.ramp"). Null: there is
// none.
const OldName* FindOldName(absl::string_view message, absl::string_view path);

// The error for `old`, which was written as `path`. `parent` is the path of the
// message in which it begins. `beside`: the new name was written, too.
std::string OldNameError(const OldName& old, const std::string& path,
                         const std::string& parent, bool beside);

}  // namespace mesh::config

#endif  // MESH_CONFIG_OLD_NAMES_H_
