#include "benchmarks/identity/secret_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {
namespace {

[[noreturn]] void DieOf(const std::string& path) {
  Die(absl::StrCat(path, ": ", std::strerror(errno)));
}

void Write(const std::string& path, absl::string_view text, int how) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);
  if (fd < 0 || write(fd, text.data(), text.size()) !=
                    static_cast<ssize_t>(text.size())) {
    DieOf(path);
  }
  close(fd);
}

void Move(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) DieOf(to);
}

}  // namespace

SecretFiles::SecretFiles(std::string directory, const Secret& secret)
    : directory_(std::move(directory)) {
  std::filesystem::create_directory(Secrets());
  const std::string version = MakeVersion(Secrets(), secret);
  std::filesystem::create_symlink(version, Secrets() + "/current");
}

std::string SecretFiles::Secrets() const { return directory_ + "/secrets"; }

std::string SecretFiles::PathOf(absl::string_view file) const {
  return absl::StrCat(Secrets(), "/current/", file);
}

void SecretFiles::Rename(absl::string_view file, absl::string_view text) const {
  const std::string path = PathOf(file);
  Write(path + ".new", text, O_TRUNC);
  Move(path + ".new", path);
}

void SecretFiles::RenamePair(const Secret& secret) const {
  Rename(kKey, secret.key);
  Rename(kCert, secret.chain);
}

void SecretFiles::Overwrite(absl::string_view file,
                            absl::string_view text) const {
  Write(PathOf(file), text, O_TRUNC);
}

void SecretFiles::Append(absl::string_view file, absl::string_view text) const {
  Write(PathOf(file), text, O_APPEND);
}

std::string SecretFiles::MakeVersion(const std::string& parent,
                                     const Secret& secret) {
  const std::string name = absl::StrCat("v", ++version_);
  const std::string path = absl::StrCat(parent, "/", name);
  std::filesystem::create_directory(path);
  Write(absl::StrCat(path, "/", kKey), secret.key, O_TRUNC);
  Write(absl::StrCat(path, "/", kCert), secret.chain, O_TRUNC);
  Write(absl::StrCat(path, "/", kBundle), secret.bundle, O_TRUNC);
  return name;
}

void SecretFiles::SwapLink(const Secret& secret) {
  const std::string link = Secrets() + "/current";
  const std::filesystem::path old =
      std::filesystem::path(Secrets()) / std::filesystem::read_symlink(link);
  const std::string version = MakeVersion(Secrets(), secret);
  std::filesystem::create_symlink(version, link + ".new");
  Move(link + ".new", link);
  std::filesystem::remove_all(old);
}

void SecretFiles::ReplaceDirectory(const Secret& secret) {
  const std::string next = directory_ + "/next";
  const std::string old = directory_ + "/old";
  std::filesystem::create_directory(next);
  const std::string version = MakeVersion(next, secret);
  std::filesystem::create_symlink(version, next + "/current");
  Move(Secrets(), old);
  Move(next, Secrets());
  std::filesystem::remove_all(old);
}

}  // namespace mesh::benchmarks
