#ifndef MESH_DISCOVERY_DNS_TEST_SERVER_H_
#define MESH_DISCOVERY_DNS_TEST_SERVER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace mesh::discovery {

constexpr uint16_t kTypeA = 1;
constexpr uint16_t kTypeCname = 5;
constexpr uint16_t kTypeAaaa = 28;

struct DnsRecord {
  uint16_t type;
  uint32_t ttl;
  std::string data;  // As on the wire: A("10.0.0.1"), Aaaa("fd00::1"), Name().
  std::string name;  // Empty: that of the question.
};

// Record data on the wire.
std::string A(const std::string& address);
std::string Aaaa(const std::string& address);
std::string Name(const std::string& name);

// A question that came in.
struct DnsQuestion {
  std::string packet;
  std::string name;
  uint16_t type = 0;

  // An answer to it. `code`: 0 is fine, 2 SERVFAIL, 3 NXDOMAIN.
  std::string Answer(const std::vector<DnsRecord>& records, int code = 0,
                     bool truncated = false) const;
};

// A name server on a port of the loopback interface that does what the test
// says. UDP only.
class FakeDns {
 public:
  // What to send back, any number of packets; called on a thread of its own.
  using Handler = std::function<std::vector<std::string>(const DnsQuestion&)>;

  explicit FakeDns(Handler handler);
  ~FakeDns();

  std::string address() const;

 private:
  void Serve();

  const Handler handler_;
  int socket_ = -1;
  int port_ = 0;
  std::thread thread_;
};

// dnsmasq, a real name server, as a process on the loopback interface. It
// serves the names of the zone "mesh.test": those that do not exist are
// NXDOMAIN.
class Dnsmasq {
 public:
  // `hosts`: the text of a hosts file. `options`: more of its command line.
  explicit Dnsmasq(const std::string& hosts,
                   std::vector<std::string> options = {}, int local_ttl = 1);
  ~Dnsmasq();

  std::string address() const;
  // Serves other names from now on (SIGHUP).
  void SetHosts(const std::string& hosts);
  // kill -9, and start again on the same port.
  void Kill();
  void Start();

 private:
  // Whether it answers, rather than found its port taken.
  bool Launch();

  const std::vector<std::string> options_;
  const int local_ttl_;
  std::string hosts_file_;
  int port_ = 0;
  pid_t pid_ = 0;
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_DNS_TEST_SERVER_H_
