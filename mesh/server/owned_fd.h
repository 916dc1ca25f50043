#ifndef MESH_SERVER_OWNED_FD_H_
#define MESH_SERVER_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace mesh::server {

// A file descriptor that is closed when its owner goes.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~OwnedFd() { Reset(-1); }

  int get() const { return fd_; }  // -1: none.
  bool ok() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace mesh::server

#endif  // MESH_SERVER_OWNED_FD_H_
