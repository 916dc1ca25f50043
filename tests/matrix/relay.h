#ifndef TESTS_MATRIX_RELAY_H_
#define TESTS_MATRIX_RELAY_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"

namespace mesh::test {

// TCP relays to one server, each with a port of its own, that can break the
// connections which go through them, as a server does that is killed. The
// functions may be called from any thread, one at a time.
class Relays {
 public:
  // `server`: "127.0.0.1:4711".
  Relays(int count, absl::string_view server);
  ~Relays();

  const std::vector<std::string>& addresses() const { return addresses_; }

  // Resets the connections of the relay that a call's request went through
  // last. Returns when they are.
  void BreakLastUsed() { Command(kBreak); }
  // Resets all connections, and each new one; admits them again.
  void Refuse() { Command(kRefuse); }
  void Admit() { Command(kAdmit); }

 private:
  enum Order { kNothing, kBreak, kRefuse, kAdmit, kQuit };
  struct Pair {
    size_t relay;
    int client;
    int server;
  };

  void Command(Order order);
  void Run();
  bool Forward(const Pair& pair, int from, int to);
  static void Reset(const Pair& pair);

  std::vector<std::string> addresses_;
  int server_port_;
  std::vector<int> listeners_;
  int wake_[2];
  std::atomic<int> order_{kNothing};
  std::thread thread_;

  // The thread's own.
  std::vector<Pair> pairs_;
  size_t last_used_ = 0;
  bool refusing_ = false;
};

}  // namespace mesh::test

#endif  // TESTS_MATRIX_RELAY_H_
