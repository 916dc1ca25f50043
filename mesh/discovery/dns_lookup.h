#ifndef MESH_DISCOVERY_DNS_LOOKUP_H_
#define MESH_DISCOVERY_DNS_LOOKUP_H_

#include <ares.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mesh/base/event_loop.h"

namespace mesh::discovery {

// What one lookup learned about the records of one type.
struct DnsRecords {
  // OK: `addresses` is all that there is, maybe nothing. Otherwise it says why
  // nothing is known.
  absl::Status status;
  // As inet_ntop() writes them, sorted, and each once. So a server that rotates
  // its answers always says the same.
  std::vector<std::string> addresses;
  // How long the answer may be kept. Infinite when nothing limits it.
  absl::Duration ttl = absl::InfiniteDuration();
};

struct DnsAnswer {
  // Not OK when neither type could be had, or when the name does not exist
  // (NOT_FOUND).
  absl::Status status;
  // The full name that was found, after the search list.
  std::string name;
  DnsRecords a;
  DnsRecords aaaa;
};

// Asks once for the A and AAAA records of a name.
//
// It does what users know from the system's resolver. An address stands for
// itself. /etc/hosts comes first. "localhost" and what ends in ".localhost" are
// this machine even when nobody says so (RFC 6761). The search list and `ndots`
// of /etc/resolv.conf apply unless the name ends in a dot.
//
// Two things differ. Both types are asked for under one name of the search list
// before the next one is tried. And the search ends at the first name about
// which a server could not tell. So a server in trouble never makes another
// service of the search list take the calls.
//
// With name servers given, those alone count: no /etc/hosts, no search list.
// The configuration is read anew for each lookup.
//
// On the thread of its loop only.
class DnsLookup {
 public:
  using Done = std::function<void(DnsAnswer)>;

  // `servers`: "address:port" each; empty: the system's.
  DnsLookup(std::string name, std::vector<std::string> servers,
            base::EventLoop* loop);
  // Cancels.
  ~DnsLookup();
  DnsLookup(const DnsLookup&) = delete;
  DnsLookup& operator=(const DnsLookup&) = delete;

  // Call it once. It calls back once, maybe before it returns. The lookup may
  // be destroyed inside that.
  void Start(Done done);

 private:
  enum class Outcome { kAsked, kAddresses, kNoRecords, kNoName, kError };

  // The question for one type. Each has a channel of its own. On a shared
  // socket, sending one question can swallow the error that was meant for the
  // other, which then waits for its timeout.
  struct Question {
    explicit Question(DnsLookup* lookup) : lookup(lookup) {}

    DnsLookup* const lookup;
    ares_channel channel = nullptr;
    base::EventLoop::TimerId timer = 0;
    Outcome outcome = Outcome::kAsked;
    DnsRecords records;
  };

  // Callbacks of c-ares, with a Question. They only note things, since c-ares
  // must not be entered or left for good from within.
  static void OnSocket(void* question, ares_socket_t fd, int read, int write);
  template <typename Type>
  static void OnReply(void* question, int status, int timeouts,
                      unsigned char* reply, int size);

  absl::Status Open(Question* question);
  // After Open(): the names to try, from /etc/resolv.conf.
  std::vector<std::string> Candidates() const;
  void Ask(const std::string& name);
  // These three are the last thing that a caller does: `this` may be gone
  // afterwards.
  void Process(Question* question, ares_socket_t read, ares_socket_t write);
  void Proceed();
  void Finish(DnsAnswer answer);
  void SetTimer(Question* question);
  // For messages. Empty when the system's name servers are asked.
  std::string AskedServers() const;

  // Constant.
  const std::string name_;
  const std::vector<std::string> servers_;
  base::EventLoop* const loop_;

  Done done_;
  std::vector<std::string> candidates_;  // Names to try.
  size_t candidate_ = 0;                 // The one that is asked for.
  // The first candidate that exists, though without such records.
  std::optional<std::string> exists_;
  Question a_{this};
  Question aaaa_{this};
};

// Whether `name` can be asked for at all: labels of 1 to 63 characters, 253
// together, with or without a dot at the end. Otherwise INVALID_ARGUMENT.
absl::Status ValidateDnsName(absl::string_view name);

// The names that `name` may stand for, in the order in which they are tried.
std::vector<std::string> SearchNames(const std::string& name, int ndots,
                                     const std::vector<std::string>& domains);

// The answer for what needs no server: an address (in brackets or not), a name
// in `hosts` (the text of a hosts file), the local host. Otherwise nothing.
std::optional<DnsAnswer> LocalAnswer(absl::string_view name,
                                     absl::string_view hosts);

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_DNS_LOOKUP_H_
