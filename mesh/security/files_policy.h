#ifndef MESH_SECURITY_FILES_POLICY_H_
#define MESH_SECURITY_FILES_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/security/identity.h"
#include "mesh/security/source.h"

namespace mesh::security {

// Now, by both clocks.
struct Moment {
  absl::Time steady;  // For intervals: Clock::Real().
  absl::Time wall;    // For dates in certificates: WallTime().
};

// What stat(2) says of a file, behind all symbolic links: device, inode, size,
// modification and change time in ns, and errno. Another value means that
// something has happened to the file. All 0 is no file's.
using FileStamp =
    std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t, int>;

// Decides when the files of an identity are read, what of that is published,
// and what is said. All files are one unit. Does no I/O and knows no thread:
// FileSource acts. Not thread-safe.
//
// A file that was renamed to its place, or reached through a symbolic link that
// is new, is whole at once. What is written in place is whole when nothing has
// happened to it for kStill. Only when all files are whole are they read.
class FilesPolicy {
 public:
  static constexpr absl::Duration kStill = absl::Milliseconds(100);
  // How often the files are looked at, where nothing tells of changes.
  static constexpr absl::Duration kLook = absl::Seconds(1);
  // How long there is silence about files that do not match.
  static constexpr absl::Duration kPatience = absl::Seconds(2);

  enum class Change : uint8_t { kReplaced, kWritten };

  // What was read of all files at once.
  struct Contents {
    std::vector<FileStamp> stamps;  // Each file's, when it had been read.
    // Or why a file could not be read.
    absl::StatusOr<IdentityBytes> bytes = IdentityBytes();
    // To be told if this is published, and not first of all: who named the
    // files has looked at them.
    std::vector<std::string> warnings;
  };
  // What follows.
  struct Decision {
    IdentityPtr publish;  // Null: nothing.
    std::vector<IdentityNotice> notices;
  };

  // `files`: how many there are. `names`: which, for messages.
  FilesPolicy(size_t files, std::string names)
      : names_(std::move(names)), files_(files) {}

  // Something has happened to a file. `stamp` is the one that it has since.
  void OnChange(size_t file, Change change, const FileStamp& stamp, Moment now);
  // A look at all files. Stamps that nobody has told of count as written.
  void OnLook(const std::vector<FileStamp>& stamps, Moment now);
  // Whether to read all files now, for OnRead().
  bool WantsRead(Moment now) const;
  // What was read is not used when a file changed while it was read: then
  // OnChange() comes before it. Nor is it used when a file has a stamp that
  // nobody has told of: that counts as written, as in a look.
  Decision OnRead(Contents contents, Moment now);
  // Time has passed. May be called at any time.
  Decision OnTime(Moment now);
  // When to look, or to call OnTime() and WantsRead() again, by the steady
  // clock.
  absl::Time Next(Moment now) const;

  // Why what was read last is not published. OK: it is.
  const absl::Status& trouble() const { return trouble_; }

 private:
  struct File {
    FileStamp stamp;  // All 0: nobody knows any.
    absl::Time whole_at = absl::InfinitePast();
  };

  absl::Time AllWholeAt() const;
  void Refuse(IdentityNotice::Kind kind, absl::Status why, bool is_new,
              Moment now);
  void Accept(IdentityPtr identity, const std::vector<std::string>& warnings,
              Decision* decision);

  const std::string names_;

  std::vector<File> files_;
  bool changed_ = true;  // Since the last read.
  bool retry_ = false;   // To be read, although nothing has changed.
  // Two writes within one tick of the file system's clock look the same. So
  // what was new is read once more.
  bool read_again_ = false;
  absl::Time last_look_ = absl::InfinitePast();

  IdentityPtr published_;
  std::vector<std::string> warned_;  // What is known of the files then.
  // When what was read becomes valid, by the wall clock.
  absl::Time valid_from_ = absl::InfiniteFuture();

  absl::Status trouble_;
  IdentityNotice::Kind trouble_kind_ = IdentityNotice::Kind::kBad;
  absl::Time speak_at_ = absl::InfiniteFuture();  // The trouble is told.
  bool spoke_ = false;  // A trouble was told of, and no end of it.
};

}  // namespace mesh::security

#endif  // MESH_SECURITY_FILES_POLICY_H_
