#ifndef MESH_CONFIG_PROBLEMS_H_
#define MESH_CONFIG_PROBLEMS_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace mesh::config {

// A place in a text, counted from 1. Line 0: unknown.
struct Position {
  int line = 0;
  int column = 0;  // In bytes.

  bool operator==(Position o) const {
    return line == o.line && column == o.column;
  }
};

// What an error about a place in `file` begins with: "mesh.yaml:14:21: ". Parts
// that are unknown are left out. Control characters in `file` become spaces.
std::string PlaceText(const std::string& file, Position at);

// Everything that is wrong with a configuration, collected so that all of it is
// reported at once.
class Problems {
 public:
  struct Problem {
    std::string file;  // Empty: none, the configuration was built in code.
    Position at;
    // Within the text that stands at `at`, where that is a text of its own.
    Position inner;
    std::string message;
  };

  // `file` is the name of the text in messages. May be empty.
  explicit Problems(std::string file) : file_(std::move(file)) {}

  // Control characters in `message` become spaces: it is one line. It gets the
  // full stop that it lacks. Beyond some thousands it is only counted.
  void Add(Position at, std::string message, Position inner = {});

  // Takes over what is wrong with another file. A file may be appended more
  // than once.
  void Append(const Problems& other);

  bool empty() const { return list_.empty(); }
  const std::vector<Problem>& list() const { return list_; }
  const std::string& file() const { return file_; }

  // OK, or INVALID_ARGUMENT with one line a problem, `file:line:column:
  // message`, in order of file (this one first, then by name) and position,
  // repetitions left out. Control characters in a file's name become spaces,
  // too. After a thousand lines the rest is only counted.
  absl::Status ToStatus() const;
  // These lines.
  std::vector<std::string> Lines() const;

 private:
  std::string file_;
  std::vector<Problem> list_;
  size_t more_ = 0;  // Problems that the list has not.
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_PROBLEMS_H_
