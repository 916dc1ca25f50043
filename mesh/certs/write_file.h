#ifndef MESH_CERTS_WRITE_FILE_H_
#define MESH_CERTS_WRITE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mesh::certs {

// Puts `content` at `path` in one step: a reader sees the old file or the new
// one, whole. The file gets just the permissions `mode` (0600), whatever the
// umask is. UNAVAILABLE: it cannot be written; the old file stays.
absl::Status WriteFile(const std::string& path, absl::string_view content,
                       unsigned mode);

// Makes the directory `path` if it is not there. Its parent must be.
absl::Status MakeDirectory(const std::string& path);

}  // namespace mesh::certs

#endif  // MESH_CERTS_WRITE_FILE_H_
