#ifndef MESH_BASE_FILE_H_
#define MESH_BASE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mesh::base {

// Reads the regular file `path` whole (symbolic links are followed). Fails with
// NOT_FOUND, PERMISSION_DENIED or UNAVAILABLE when it can't be read.
// FAILED_PRECONDITION: it is no regular file. RESOURCE_EXHAUSTED: it has more
// than `max_bytes`. The message has the path. Thread-safe.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes = 16 << 20);

// A file as it was when it was read.
struct FileState {
  std::string path;
  uint64_t fingerprint = 0;  // The fingerprint of what ReadFile() returned.
};

// Tells contents (and errors) apart, within this process.
uint64_t Fingerprint(const absl::StatusOr<std::string>& content);

// The path to open when `path` stands in the file `in`. A relative path is
// relative to the directory of `in`.
std::string ResolvePath(absl::string_view path, absl::string_view in);

}  // namespace mesh::base

#endif  // MESH_BASE_FILE_H_
