#ifndef MESH_BASE_FILE_POLLER_H_
#define MESH_BASE_FILE_POLLER_H_

#include <cstdint>
#include <string>
#include <tuple>

#include "mesh/base/file.h"

namespace mesh::base {

// Tells whether the contents of a file have changed since the last look. It has
// no thread and no timer: its owner looks when it likes. Not thread-safe.
//
// A look costs one stat(2) of the file behind all symbolic links. So it sees a
// link that is exchanged (as Kubernetes does), a file renamed over the old one,
// and a write in place. Contents are read, and compared, only when that tells a
// change. It polls and does not use inotify, because polling works on every
// file system and through every kind of replacement.
class FilePoller {
 public:
  enum class Change {
    kNone,
    kSettling,  // Something is being written in place: look again soon.
    kContents,  // Other contents, or another reason why there are none.
  };

  // `known` is the file as the owner has it.
  explicit FilePoller(FileState known);

  Change Look();

  const std::string& path() const { return known_.path; }

 private:
  // Device, inode, size, modification and change time, and errno of stat(2).
  using Identity =
      std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t, int>;

  Identity Identify() const;

  FileState known_;
  Identity identity_;  // When `known_` was read, or just before.
  Identity settling_;  // At the last look, if other than `identity_`.
  // Whether to read once more. Two writes within one tick of the file system's
  // clock look the same. A read that failed (out of descriptors, say) also
  // looks like one that did not.
  bool read_again_ = true;
};

}  // namespace mesh::base

#endif  // MESH_BASE_FILE_POLLER_H_
