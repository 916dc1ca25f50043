#ifndef MESH_BASE_FILE_H_
#define MESH_BASE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mesh::base {

// Whole contents of the regular file `path` (symbolic links are followed).
// NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE when it can't be read,
// FAILED_PRECONDITION when it is no regular file, RESOURCE_EXHAUSTED when it
// has more than `max_bytes`; the message has the path. Thread-safe.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes = 16 << 20);

// A file as it was when it was read.
struct FileState {
  std::string path;
  uint64_t fingerprint = 0;  // Of what ReadFile() returned.
};

// Tells contents (and errors) apart, within this process.
uint64_t Fingerprint(const absl::StatusOr<std::string>& content);

// `path` as it is to be opened when it stands in the file `in`: relative paths
// are relative to the directory of `in`.
std::string ResolvePath(absl::string_view path, absl::string_view in);

}  // namespace mesh::base

#endif  // MESH_BASE_FILE_H_
