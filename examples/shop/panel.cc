#include "examples/shop/panel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace shop {

static_assert(std::atomic<uint64_t>::is_always_lock_free,
              "atomics shared by processes must not hide a lock");

absl::StatusOr<Panel*> OpenPanel(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  void* memory = MAP_FAILED;
  if (ftruncate(fd, sizeof(Panel)) == 0) {
    memory =
        mmap(nullptr, sizeof(Panel), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  close(fd);
  if (memory == MAP_FAILED) {
    return absl::ErrnoToStatus(error, absl::StrCat("map ", path));
  }
  return static_cast<Panel*>(memory);
}

}  // namespace shop
