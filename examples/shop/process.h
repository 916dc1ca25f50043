#ifndef EXAMPLES_SHOP_PROCESS_H_
#define EXAMPLES_SHOP_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace shop {

// A child process. It never outlives this object, nor the process that started
// it, however that ends. One thread, which must live as long as the child.
class Process {
 public:
  // Starts `argv`, argv[0] being the path of the program. stderr goes to the
  // end of `log`. With `says_port`, waits up to 10 s for a line "port N" on
  // stdout.
  static absl::StatusOr<std::unique_ptr<Process>> Start(
      const std::vector<std::string>& argv, const std::string& log,
      bool says_port);

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  // Kills it, if it still runs.
  ~Process();

  // As it said. 0 when not asked for.
  int port() const { return port_; }

  void Signal(int signal);

  // Whether it has ended by itself or by a signal. Does not block.
  bool Ended();

 private:
  explicit Process(pid_t pid) : pid_(pid) {}

  absl::Status ReadPort(int fd, const std::string& program);

  const pid_t pid_;
  int port_ = 0;
  bool ended_ = false;  // And was waited for.
};

}  // namespace shop

#endif  // EXAMPLES_SHOP_PROCESS_H_
