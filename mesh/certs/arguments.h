#ifndef MESH_CERTS_ARGUMENTS_H_
#define MESH_CERTS_ARGUMENTS_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh::certs {

// The arguments of one command: "DIR OUT --dns a --dns b".
class Arguments {
 public:
  // `flags`: those that the command knows, each with a value behind it.
  // INVALID_ARGUMENT: another one, or one without a value.
  static absl::StatusOr<Arguments> Parse(const std::vector<std::string>& words,
                                         const std::set<std::string>& flags);

  // What stands alone.
  const std::vector<std::string>& words() const { return words_; }
  // The values of a flag in their order. Empty: it is absent.
  std::vector<std::string> All(const std::string& flag) const;
  // The last value, or `otherwise`.
  std::string Get(const std::string& flag, const std::string& otherwise) const;
  // INVALID_ARGUMENT: the value is no duration such as 90m, or not a finite
  // one.
  absl::StatusOr<absl::Duration> GetDuration(const std::string& flag,
                                             absl::Duration otherwise) const;

 private:
  std::vector<std::string> words_;
  std::map<std::string, std::vector<std::string>> values_;
};

}  // namespace mesh::certs

#endif  // MESH_CERTS_ARGUMENTS_H_
