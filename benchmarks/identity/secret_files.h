#ifndef MESH_BENCHMARKS_IDENTITY_SECRET_FILES_H_
#define MESH_BENCHMARKS_IDENTITY_SECRET_FILES_H_

#include <string>

#include "absl/strings/string_view.h"
#include "benchmarks/identity/pki.h"

namespace mesh::benchmarks {

// The files of one process's identity, and the ways in which the world changes
// such files. They are DIRECTORY/secrets/current/tls.key, tls.crt and ca.crt,
// where `current` is a symbolic link. What cannot be written ends the bench.
class SecretFiles {
 public:
  static constexpr char kKey[] = "tls.key";
  static constexpr char kCert[] = "tls.crt";
  static constexpr char kBundle[] = "ca.crt";

  // `directory` is there.
  SecretFiles(std::string directory, const Secret& secret);

  // A file's path.
  std::string PathOf(absl::string_view file) const;

  // A new file takes the place of the old one.
  void Rename(absl::string_view file, absl::string_view text) const;
  // The key, then the chain.
  void RenamePair(const Secret& secret) const;
  // The old file is emptied and written.
  void Overwrite(absl::string_view file, absl::string_view text) const;
  void Append(absl::string_view file, absl::string_view text) const;
  // All files at once: `current` leads to another directory.
  void SwapLink(const Secret& secret);
  // All files at once: `secrets` is moved away, and another one comes.
  void ReplaceDirectory(const Secret& secret);

 private:
  // A directory with the files of `secret`, and its name alone.
  std::string MakeVersion(const std::string& parent, const Secret& secret);
  std::string Secrets() const;

  const std::string directory_;
  int version_ = 0;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_SECRET_FILES_H_
