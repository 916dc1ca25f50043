#include "mesh/certs/write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace mesh::certs {
namespace {

absl::Status CannotWrite(const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("the file \"", path,
                   "\" could not be written: ", std::strerror(error), "."));
}

// 0, or the error that stopped it.
int WriteAll(int fd, absl::string_view content) {
  while (!content.empty()) {
    const ssize_t size = write(fd, content.data(), content.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    content.remove_prefix(size);
  }
  return 0;
}

}  // namespace

absl::Status WriteFile(const std::string& path, absl::string_view content,
                       unsigned mode) {
  // The directory is the same, so that rename(2) can do it.
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);  // With mode 0600.
  if (fd < 0) return CannotWrite(path, errno);
  int error = WriteAll(fd, content);
  if (error == 0 && fchmod(fd, mode) != 0) error = errno;
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return CannotWrite(path, error);
}

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("the directory \"", path,
                   "\" could not be made: ", std::strerror(errno), "."));
}

}  // namespace mesh::certs
