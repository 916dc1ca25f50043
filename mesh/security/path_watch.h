#ifndef MESH_SECURITY_PATH_WATCH_H_
#define MESH_SECURITY_PATH_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mesh::security {

// Hears from inotify(7) that one of some files has changed, or what its path
// leads to: a symbolic link on the way, or a directory. Where inotify tells
// nothing (network file systems, changes through another machine, no watches
// left), nothing is heard: look as well. Not thread-safe.
class PathWatch {
 public:
  enum class Change : uint8_t {
    // Something was renamed to a place on the way, or a symbolic link was made
    // there. Behind it is a file that somebody else has finished.
    kReplaced,
    kWritten,  // Anything else.
  };
  struct Event {
    size_t file;  // An index into `paths`.
    Change change;
  };

  // Paths are absolute, or relative to the working directory as it is now.
  explicit PathWatch(std::vector<std::string> paths);
  ~PathWatch();
  PathWatch(const PathWatch&) = delete;
  PathWatch& operator=(const PathWatch&) = delete;

  // Readable when there is something to Read(). -1: there is no inotify.
  int fd() const { return fd_; }
  // What has happened since the last call, oldest first. Does not wait. Paths
  // are followed anew before it returns. So what is read of the files
  // afterwards is no older than what is watched.
  std::vector<Event> Read();
  // Follows the paths anew, for changes that nothing told of.
  void Follow();

 private:
  // What is watched: by the descriptor of the watch, which names of a directory
  // matter to which files. The name "" is the watched file itself.
  using Names = std::map<std::string, std::set<size_t>>;
  struct Watched {
    std::string path;
    Names names;
  };

  void FollowOne(size_t file, std::map<int, Watched>* watched) const;
  void Add(const std::string& path, uint32_t mask, const std::string& name,
           size_t file, std::map<int, Watched>* watched) const;

  const std::vector<std::string> paths_;  // Absolute.
  int fd_ = -1;
  std::map<int, Watched> watched_;
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_PATH_WATCH_H_
