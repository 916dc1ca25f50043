#ifndef MESH_BASE_FOREIGN_CODE_H_
#define MESH_BASE_FOREIGN_CODE_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace mesh::base {

// The border to one piece of code that the application gave. What that code
// throws ends here, and is counted. A call that throws nothing costs no more
// than one without a border. Thread-safe.
class ForeignCode {
 public:
  // Receives one line about the first exception, on the thread that met it.
  using Tell = std::function<void(const std::string& line)>;

  // `name` is what the application calls the code: "observers[0]".
  ForeignCode(std::string name, Tell tell)
      : name_(std::move(name)), tell_(std::move(tell)) {}
  ForeignCode(const ForeignCode&) = delete;
  ForeignCode& operator=(const ForeignCode&) = delete;

  // Runs `code`. Returns false if it has thrown.
  template <typename Code>
  bool Run(Code&& code) {
    try {
      std::forward<Code>(code)();
      return true;
    } catch (const std::exception& thrown) {
      Caught(thrown.what());
    } catch (...) {
      Caught("what is no std::exception");
    }
    return false;
  }

  const std::string& name() const { return name_; }
  // How often it has thrown.
  uint64_t thrown() const { return thrown_.load(std::memory_order_relaxed); }

 private:
  void Caught(absl::string_view what);

  const std::string name_;
  const Tell tell_;
  std::atomic<uint64_t> thrown_{0};
};

}  // namespace mesh::base

#endif  // MESH_BASE_FOREIGN_CODE_H_
