#include "mesh/base/file_poller.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

namespace mesh::base {
namespace {

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

}  // namespace

FilePoller::FilePoller(FileState known)
    : known_(std::move(known)), identity_(Identify()), settling_(identity_) {}

FilePoller::Identity FilePoller::Identify() const {
  struct stat file;
  if (stat(known_.path.c_str(), &file) != 0) return {0, 0, 0, 0, 0, errno};
  return {file.st_dev,
          file.st_ino,
          file.st_size,
          Nanoseconds(file.st_mtim),
          Nanoseconds(file.st_ctim),
          0};
}

FilePoller::Change FilePoller::Look() {
  const Identity now = Identify();
  const bool same = now == identity_;
  if (same && !read_again_) return Change::kNone;
  // The same file with another time is written in place, and may be half
  // written: it is read when it has stood still from one look to the next.
  const bool in_place = !same && std::get<0>(now) == std::get<0>(identity_) &&
                        std::get<1>(now) == std::get<1>(identity_) &&
                        std::get<5>(now) == 0;
  if (in_place && now != settling_) {
    settling_ = now;
    return Change::kSettling;
  }
  const absl::StatusOr<std::string> content = ReadFile(known_.path);
  const uint64_t fingerprint = Fingerprint(content);
  read_again_ = !same || !content.ok();
  identity_ = now;
  settling_ = now;
  if (fingerprint == known_.fingerprint) return Change::kNone;
  known_.fingerprint = fingerprint;
  return Change::kContents;
}

}  // namespace mesh::base
