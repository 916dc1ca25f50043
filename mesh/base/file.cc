#include "mesh/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mesh::base {
namespace {

// Closes a descriptor at the end of its life.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

std::string CannotRead(const std::string& path, absl::string_view why) {
  // One line, whatever the name has in it.
  return absl::StrCat("the file \"", absl::Utf8SafeCHexEscape(path),
                      "\" could not be read: ", why, ".");
}

absl::Status CannotRead(const std::string& path, int error) {
  const std::string message = CannotRead(path, std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     size_t max_bytes) {
  // A path is cut at a NUL byte by the system; such a file does not exist.
  if (path.find('\0') != std::string::npos) return CannotRead(path, ENOENT);
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) return CannotRead(path, errno);
  struct stat status;
  if (fstat(file.fd, &status) != 0) return CannotRead(path, errno);
  if (!S_ISREG(status.st_mode)) {
    return absl::FailedPreconditionError(
        CannotRead(path, S_ISDIR(status.st_mode) ? "it is a directory"
                                                 : "it is not a regular file"));
  }
  std::string content;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t size = read(file.fd, buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return CannotRead(path, errno);
    if (size == 0) return content;
    if (content.size() + size > max_bytes) {
      return absl::ResourceExhaustedError(CannotRead(
          path, absl::StrCat("it has more than ", max_bytes, " bytes")));
    }
    content.append(buffer, size);
  }
}

uint64_t Fingerprint(const absl::StatusOr<std::string>& content) {
  const std::hash<std::string_view> hash;
  if (content.ok()) return hash(std::string_view(*content));
  const absl::string_view message = content.status().message();
  return ~hash(std::string_view(message.data(), message.size()));
}

std::string ResolvePath(absl::string_view path, absl::string_view in) {
  const size_t slash = in.rfind('/');
  if (path.empty() || path[0] == '/' || slash == absl::string_view::npos) {
    return std::string(path);
  }
  return absl::StrCat(in.substr(0, slash + 1), path);
}

}  // namespace mesh::base
