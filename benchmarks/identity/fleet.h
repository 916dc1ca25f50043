#ifndef MESH_BENCHMARKS_IDENTITY_FLEET_H_
#define MESH_BENCHMARKS_IDENTITY_FLEET_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "benchmarks/identity/control.pb.h"
#include "benchmarks/identity/pki.h"
#include "benchmarks/identity/raw_tls.h"
#include "benchmarks/identity/secret_files.h"
#include "benchmarks/identity/sockets.h"
#include "benchmarks/identity/steered.h"
#include "mesh/base/mutex.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {

// What the processes of the bench rotation are, and from where they have their
// identities.
enum class Arm { kFiles, kAgent, kStock };

// Three servers, two clients and, if need be, their agent, as processes, with
// two raw clients that hold connections open. Threads of this object watch
// them. Other functions are for one thread where nothing else is said. Members
// are numbered: first the servers, then the clients.
class Fleet {
 public:
  static constexpr int kServers = 3;
  static constexpr int kClients = 2;
  static constexpr int kMembers = kServers + kClients;

  // All start with leaves of `pki`, and calls begin.
  Fleet(Arm arm, Pki* pki);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  Arm arm() const { return arm_; }
  // By which name `pki` issues for a member.
  static std::string NameOf(int member);

  // ---- Identities

  // What a member was given last.
  const Secret& secret(int member) const { return secrets_[member]; }
  // Notes that this is what it has from now on. Raw clients use it at once.
  void SetSecret(int member, Secret secret);
  SecretFiles& files(int member) { return *files_[member]; }
  // The agent's answer with `secret` for a member.
  std::string AnswerWith(int member, const Secret& secret) const;
  void Push(int member, const std::string& answer);
  // kill -9, and another one, which has for all what they were given last.
  // Returns how long it took until all members have their streams again, or 20
  // s when one has none by then.
  absl::Duration KillAgent();
  // Bench's own raw clients show another leaf from now on.
  void RenewProber();

  // ---- Measuring

  // The generation gauge. 0: there is none. Thread-safe.
  uint64_t Generation(int member);
  // When the first new connection with `serial` was there, sampled every 20 ms.
  // InfiniteFuture: not in time. By one thread per member.
  absl::Time AwaitSerial(int member, const std::string& serial,
                         absl::Duration timeout);
  // What a server shows now. Empty: there is no handshake. Thread-safe.
  std::string SerialOfServer(int member);
  struct Memory {
    double rss_kb = 0;
    double descriptors = 0;
  };
  std::optional<Memory> AskMemory(int member);

  // An authority was withdrawn just now, and since `good_since` no member has a
  // leaf of it.
  void Withdrawn(absl::Time good_since);

  // Starts anew what has ended, and counts it.
  void Revive();

  // ---- What came of it. Thread-safe.
  struct Totals {
    int64_t calls = 0, failed = 0, late = 0;
    int64_t connects = 0, failed_connects = 0;
    int64_t streams_ended = 0;  // The stream, and the raw clients.
    int withdrawn_open = 0;     // 5 s after, of all withdrawals.
    int withdrawn_unknown = 0;  // Those of them that nobody has seen.
    // From a withdrawal until the last such connection was gone, at most.
    absl::Duration withdrawn_last;
    int generations_open = 0;
    int crashed = 0;
  };
  Totals totals() const;

 private:
  // A withdrawal that is under observation.
  struct Withdrawal {
    absl::Time at;
    absl::Time good_since;
    size_t authority = 0;  // The oldest one that is good.
    bool judged = false;
  };

  void WriteConfigs();
  std::string IdentityText(int socket, int member) const;
  std::vector<std::string> ServerCommand(int member) const;
  std::vector<std::string> ClientCommand(int member) const;
  std::string DirectoryOf(int member) const;
  std::string SocketPath(int socket) const;
  // The agent's sockets of a member: its own, and a client's second one for
  // those that start anew.
  std::vector<int> SocketsOf(int member) const;
  void PushAll();

  std::optional<identity::Stats> Ask(int member, bool memory);
  std::shared_ptr<const RawContext> prober() const;
  void Watch();
  void JudgeWithdrawals(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Holds a connection to a server, with a call or without any.
  void Hold(int server, bool call);

  // Constant.
  const Arm arm_;
  Pki* const pki_;
  const test::TempDirectory directory_;
  std::string sockets_;  // A directory. Its name is short, as sockets want it.

  std::vector<Secret> secrets_;
  std::vector<std::unique_ptr<SecretFiles>> files_;
  std::vector<std::unique_ptr<Steered>> members_;
  std::unique_ptr<Steered> agent_;
  std::set<int> server_ports_;

  mutable base::Mutex mu_;
  std::shared_ptr<const RawContext> prober_ ABSL_GUARDED_BY(mu_);
  std::string prober_serial_ ABSL_GUARDED_BY(mu_);
  ConnectionLog log_ ABSL_GUARDED_BY(mu_);
  std::vector<Withdrawal> withdrawals_ ABSL_GUARDED_BY(mu_);
  std::vector<identity::Stats> last_ ABSL_GUARDED_BY(mu_);
  Totals totals_ ABSL_GUARDED_BY(mu_);  // Without what is in `last_`.
  int failures_told_ ABSL_GUARDED_BY(mu_) = 0;

  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_IDENTITY_FLEET_H_
