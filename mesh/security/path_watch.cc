#include "mesh/security/path_watch.h"

#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace mesh::security {
namespace {

// As many as Linux follows.
constexpr int kMostLinks = 40;

constexpr uint32_t kNameEvents =
    IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
constexpr uint32_t kFileEvents = IN_MODIFY;

std::string Absolute(const std::string& path) {
  if (absl::StartsWith(path, "/")) return path;
  char directory[PATH_MAX];
  if (getcwd(directory, sizeof(directory)) == nullptr) return path;
  return absl::StrCat(directory, "/", path);
}

std::string Join(const std::string& directory, const std::string& name) {
  return absl::StrCat(directory == "/" ? "" : directory, "/", name);
}

std::string Parent(const std::string& directory) {
  const size_t slash = directory.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/"
                                                  : directory.substr(0, slash);
}

// Where the symbolic link leads. Empty: it is none.
std::string Target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t size = readlink(path.c_str(), target, sizeof(target));
  return size <= 0 ? std::string() : std::string(target, size);
}

bool IsLink(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

}  // namespace

PathWatch::PathWatch(std::vector<std::string> paths)
    : paths_([&paths] {
        for (std::string& path : paths) path = Absolute(path);
        return std::move(paths);
      }()),
      fd_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  Follow();
}

PathWatch::~PathWatch() {
  if (fd_ >= 0) close(fd_);
}

void PathWatch::Add(const std::string& path, uint32_t mask,
                    const std::string& name, size_t file,
                    std::map<int, Watched>* watched) const {
  // A directory that is watched already keeps its number.
  const int watch = inotify_add_watch(fd_, path.c_str(), mask | IN_MASK_ADD);
  if (watch < 0) return;
  Watched& one = (*watched)[watch];
  one.path = path;
  one.names[name].insert(file);
}

void PathWatch::FollowOne(size_t file, std::map<int, Watched>* watched) const {
  std::deque<std::string> names =
      absl::StrSplit(paths_[file], '/', absl::SkipEmpty());
  std::string directory = "/";  // No link leads to it.
  int links = 0;
  while (!names.empty()) {
    const std::string name = names.front();
    names.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      directory = Parent(directory);
      continue;
    }
    Add(directory, kNameEvents | IN_ONLYDIR, name, file, watched);
    const std::string path = Join(directory, name);
    const std::string target = Target(path);
    if (target.empty()) {
      directory = path;
      continue;
    }
    if (++links > kMostLinks) return;
    const std::vector<std::string> more =
        absl::StrSplit(target, '/', absl::SkipEmpty());
    names.insert(names.begin(), more.begin(), more.end());
    if (absl::StartsWith(target, "/")) directory = "/";
  }
  // What is left is no directory but the file, if it is there.
  Add(directory, kFileEvents, "", file, watched);
}

void PathWatch::Follow() {
  if (fd_ < 0) return;
  std::map<int, Watched> watched;
  for (size_t i = 0; i < paths_.size(); ++i) FollowOne(i, &watched);
  for (const auto& [watch, unused] : watched_) {
    if (watched.count(watch) == 0) inotify_rm_watch(fd_, watch);
  }
  watched_.swap(watched);
}

std::vector<PathWatch::Event> PathWatch::Read() {
  std::vector<Event> events;
  if (fd_ < 0) return events;
  const auto all = [&](const std::set<size_t>& files, Change change) {
    for (const size_t file : files) events.push_back({file, change});
  };
  alignas(inotify_event) char buffer[16 * 1024];
  for (;;) {
    const ssize_t size = read(fd_, buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      const auto* const event =
          reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(*event)) + event->len;
      if (event->mask & IN_Q_OVERFLOW) {
        for (size_t i = 0; i < paths_.size(); ++i) {
          events.push_back({i, Change::kWritten});
        }
        continue;
      }
      // Others tell of the watch, say that its file is gone.
      if ((event->mask & (kNameEvents | kFileEvents)) == 0) continue;
      const auto found = watched_.find(event->wd);
      if (found == watched_.end()) continue;
      const std::string name = event->len > 0 ? event->name : "";
      const auto files = found->second.names.find(name);
      if (files == found->second.names.end()) continue;
      const bool replaced =
          event->mask & IN_MOVED_TO ||
          (event->mask & IN_CREATE && IsLink(Join(found->second.path, name)));
      all(files->second, replaced ? Change::kReplaced : Change::kWritten);
    }
  }
  if (!events.empty()) Follow();
  return events;
}

}  // namespace mesh::security
