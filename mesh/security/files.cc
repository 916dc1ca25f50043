#include "mesh/security/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mesh/security/files_policy.h"
#include "mesh/security/path_watch.h"
#include "openssl/crypto.h"

namespace mesh::security {
namespace {

// A list of 100,000 entries has some 6 MiB in PEM.
constexpr size_t kMostBytes = 16 << 20;

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileStamp StampOf(const struct stat& file) {
  return {file.st_dev,
          file.st_ino,
          file.st_size,
          Nanoseconds(file.st_mtim),
          Nanoseconds(file.st_ctim),
          0};
}

FileStamp Failed(int error) { return {0, 0, 0, 0, 0, error}; }

FileStamp Look(const std::string& path) {
  struct stat file;
  return stat(path.c_str(), &file) == 0 ? StampOf(file) : Failed(errno);
}

absl::Status CannotRead(const std::string& path, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("the file \"", path, "\" could not be read: ", why, "."));
}

// A file as it was read. What stood in it is cleansed.
struct ReadFile {
  ~ReadFile() { OPENSSL_cleanse(content.data(), content.size()); }

  FileStamp stamp;         // After it was read.
  bool is_steady = true;   // It was the same after that.
  bool is_public = false;  // Everybody may read it.
  absl::Status status;
  std::string content;
};

// Reads straight into one buffer of the right size, so that no copy of a key
// stays behind.
int ReadInto(int fd, size_t size, std::string* content) {
  content->resize(size + 1);  // One more, to find the end.
  size_t done = 0;
  while (done < content->size()) {
    const ssize_t got =
        read(fd, content->data() + done, content->size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    done += got;
  }
  content->resize(done);
  return 0;
}

void Read(const std::string& path, ReadFile* file) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    file->status = CannotRead(path, std::strerror(errno));
    file->stamp = Look(path);  // As each look has it: it is no news.
    return;
  }
  struct stat before;
  struct stat after;
  if (fstat(fd, &before) != 0) {
    file->stamp = Failed(errno);
    file->status = CannotRead(path, std::strerror(errno));
  } else {
    file->stamp = StampOf(before);
    file->is_public = (before.st_mode & S_IROTH) != 0;
    if (!S_ISREG(before.st_mode)) {
      file->status = CannotRead(path, "it is not a regular file");
    } else if (static_cast<size_t>(before.st_size) > kMostBytes) {
      file->status = CannotRead(
          path, absl::StrCat("it has more than ", kMostBytes, " bytes"));
    } else if (const int error = ReadInto(fd, before.st_size, &file->content)) {
      file->status = CannotRead(path, std::strerror(error));
    } else {
      file->stamp = fstat(fd, &after) == 0 ? StampOf(after) : Failed(errno);
      file->is_steady =
          file->stamp == StampOf(before) &&
          file->content.size() == static_cast<size_t>(before.st_size);
    }
  }
  close(fd);
}

// All paths, in the order in which FilesPolicy counts them.
std::vector<std::string> PathsOf(const IdentityPaths& files) {
  std::vector<std::string> paths;
  if (!files.cert.empty()) paths = {files.cert, files.key};
  for (const auto& [unused, path] : files.bundles) paths.push_back(path);
  paths.insert(paths.end(), files.crls.begin(), files.crls.end());
  return paths;
}

std::string NamesOf(const IdentityPaths& files) {
  std::vector<std::string> quoted;
  for (const std::string& path : PathsOf(files)) {
    quoted.push_back(absl::StrCat("\"", path, "\""));
  }
  return absl::StrJoin(quoted, ", ");
}

}  // namespace

IdentityPaths FilesOf(const options::TlsOptions& tls) {
  IdentityPaths files;
  files.cert = tls.cert_file;
  files.key = tls.key_file;
  if (!tls.ca_file.empty()) files.bundles[""] = tls.ca_file;
  return files;
}

// Lives until the source and what it has posted to its loop are gone.
class FileSource::Watcher final
    : public std::enable_shared_from_this<FileSource::Watcher> {
 public:
  Watcher(IdentityPaths files, std::shared_ptr<base::EventLoop> loop,
          std::function<absl::Time()> wall)
      : files_(std::move(files)),
        paths_(PathsOf(files_)),
        loop_(std::move(loop)),
        wall_(std::move(wall)),
        policy_(paths_.size(), NamesOf(files_)),
        watch_(paths_) {}

  // Before Start(), on any thread.
  absl::Status ReadFirst() {
    Act(policy_.OnRead(ReadAll(), Now()));
    return policy_.trouble();
  }

  void Start() {
    loop_->Post([self = shared_from_this()] {
      if (self->watch_.fd() >= 0) {
        self->loop_->Watch(self->watch_.fd(), POLLIN,
                           [raw = self.get()](short) { raw->OnEvents(); });
      }
      self->Go();
    });
  }

  // Nothing is published after it has returned on the loop's thread; elsewhere,
  // soon after.
  void Stop() {
    loop_->Post([self = shared_from_this()] {
      if (self->watch_.fd() >= 0) self->loop_->Watch(self->watch_.fd(), 0, {});
      if (self->timer_ != 0) self->loop_->Cancel(self->timer_);
      self->timer_ = 0;
      self->stopped_ = true;
    });
  }

  IdentityFeed& feed() { return feed_; }

 private:
  Moment Now() const { return {base::Clock::Real().Now(), wall_()}; }

  void OnEvents() {
    Hear();
    Go();
  }

  void OnTimer() {
    timer_ = 0;
    // What inotify knows comes first: it tells a rename from a write.
    Hear();
    ReadIfWanted();
    std::vector<FileStamp> stamps;
    for (const std::string& path : paths_) stamps.push_back(Look(path));
    policy_.OnLook(stamps, Now());
    watch_.Follow();
    Go();
  }

  void Hear() {
    for (const PathWatch::Event& event : watch_.Read()) {
      policy_.OnChange(event.file,
                       event.change == PathWatch::Change::kReplaced
                           ? FilesPolicy::Change::kReplaced
                           : FilesPolicy::Change::kWritten,
                       Look(paths_[event.file]), Now());
    }
  }

  void ReadIfWanted() {
    if (!policy_.WantsRead(Now())) return;
    FilesPolicy::Contents contents = ReadAll();
    Act(policy_.OnRead(std::move(contents), Now()));
  }

  // Does what the policy asks for, and sets the timer.
  void Go() {
    ReadIfWanted();
    Act(policy_.OnTime(Now()));
    const absl::Time next = policy_.Next(Now());
    if (timer_ != 0) loop_->Cancel(timer_);
    timer_ = loop_->RunAt(next, [self = shared_from_this()] {
      if (!self->stopped_) self->OnTimer();
    });
  }

  FilesPolicy::Contents ReadAll() {
    FilesPolicy::Contents contents;
    IdentityBytes bytes;
    absl::Status status;
    size_t index = 0;
    const auto read = [&](const std::string& path, std::string* to) {
      ReadFile file;
      Read(path, &file);
      if (!file.is_steady) {
        policy_.OnChange(index, FilesPolicy::Change::kWritten, file.stamp,
                         Now());
      }
      ++index;
      contents.stamps.push_back(file.stamp);
      status.Update(file.status);
      *to = std::move(file.content);
      return file.is_public;
    };
    if (!files_.cert.empty()) {
      read(files_.cert, &bytes.chain);
      if (read(files_.key, &bytes.key)) {
        contents.warnings.push_back(
            absl::StrCat("everybody may read the key \"", files_.key,
                         "\"; give it the mode 0600."));
      }
    }
    for (const auto& [domain, path] : files_.bundles) {
      read(path, &bytes.bundles[domain]);
    }
    for (const std::string& path : files_.crls) {
      bytes.crls.emplace_back();
      read(path, &bytes.crls.back());
    }
    if (status.ok()) {
      contents.bytes = std::move(bytes);
    } else {
      contents.bytes = std::move(status);
    }
    return contents;
  }

  void Act(FilesPolicy::Decision decision) {
    if (decision.publish != nullptr) feed_.Publish(std::move(decision.publish));
    for (const IdentityNotice& notice : decision.notices) {
      feed_.Notify(notice);
    }
  }

  const IdentityPaths files_;
  const std::vector<std::string> paths_;
  const std::shared_ptr<base::EventLoop> loop_;
  const std::function<absl::Time()> wall_;
  IdentityFeed feed_;

  // On the loop's thread, and in ReadFirst().
  FilesPolicy policy_;
  PathWatch watch_;
  base::Scheduler::TimerId timer_ = 0;
  bool stopped_ = false;
};

absl::StatusOr<std::shared_ptr<FileSource>> FileSource::Make(
    IdentityPaths files, std::shared_ptr<base::EventLoop> loop,
    std::function<absl::Time()> wall) {
  if (loop == nullptr) loop = std::make_shared<base::EventLoop>("mesh-files");
  if (!loop->failure().empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread for the identity's files: ", loop->failure()));
  }
  const std::string names = NamesOf(files);
  auto watcher = std::make_shared<Watcher>(std::move(files), std::move(loop),
                                           std::move(wall));
  const absl::Status status = watcher->ReadFirst();
  if (absl::IsUnavailable(status)) return status;  // It names the file.
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("the files ", names,
                                     " are no identity: ", status.message()));
  }
  watcher->Start();
  return std::shared_ptr<FileSource>(new FileSource(std::move(watcher)));
}

FileSource::FileSource(std::shared_ptr<Watcher> watcher)
    : watcher_(std::move(watcher)) {}

FileSource::~FileSource() { watcher_->Stop(); }

void FileSource::Subscribe(std::weak_ptr<IdentityListener> listener) {
  watcher_->feed().Subscribe(std::move(listener));
}

}  // namespace mesh::security
