#include "mesh/discovery/dns_test_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <utility>

#include "gtest/gtest.h"

namespace mesh::discovery {
namespace {

void Put16(std::string* out, uint32_t value) {
  out->push_back(static_cast<char>(value >> 8));
  out->push_back(static_cast<char>(value));
}

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// A bound socket on `*port`; 0 picks one.
int Bind(int type, int* port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(*port);
  socklen_t size = sizeof(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    close(fd);
    return -1;
  }
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  *port = ntohs(address.sin_port);
  return fd;
}

// A port that is free for both UDP and TCP now.
int FreePort() {
  for (;;) {
    int port = 0;
    const int udp = Bind(SOCK_DGRAM, &port);
    const int tcp = Bind(SOCK_STREAM, &port);
    close(udp);
    if (tcp < 0) continue;
    close(tcp);
    return port;
  }
}

// Whether a name server answers at `port` within 100 ms.
bool Answers(int port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  std::string query("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  query += Name("probe.mesh.test");
  Put16(&query, kTypeA);
  Put16(&query, 1);
  bool answered = false;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0 &&
      send(fd, query.data(), query.size(), 0) > 0) {
    pollfd ready = {fd, POLLIN, 0};
    char reply[512];
    answered = poll(&ready, 1, 100) == 1 && recv(fd, reply, 512, 0) > 0;
  }
  close(fd);
  return answered;
}

}  // namespace

std::string A(const std::string& address) {
  std::string data(4, '\0');
  EXPECT_EQ(inet_pton(AF_INET, address.c_str(), data.data()), 1) << address;
  return data;
}

std::string Aaaa(const std::string& address) {
  std::string data(16, '\0');
  EXPECT_EQ(inet_pton(AF_INET6, address.c_str(), data.data()), 1) << address;
  return data;
}

std::string Name(const std::string& name) {
  std::string data;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    data.push_back(static_cast<char>(end - begin));
    data.append(name, begin, end - begin);
    begin = end + 1;
  }
  data.push_back('\0');
  return data;
}

std::string DnsQuestion::Answer(const std::vector<DnsRecord>& records, int code,
                                bool truncated) const {
  std::string reply = packet.substr(0, 2);
  Put16(&reply, 0x8180 | (truncated ? 0x0200 : 0) | code);
  Put16(&reply, 1);
  Put16(&reply, records.size());
  Put16(&reply, 0);
  Put16(&reply, 0);
  reply += packet.substr(12);
  for (const DnsRecord& record : records) {
    reply += record.name.empty() ? std::string("\xc0\x0c") : Name(record.name);
    Put16(&reply, record.type);
    Put16(&reply, 1);
    Put16(&reply, record.ttl >> 16);
    Put16(&reply, record.ttl);
    Put16(&reply, record.data.size());
    reply += record.data;
  }
  return reply;
}

FakeDns::FakeDns(Handler handler) : handler_(std::move(handler)) {
  socket_ = Bind(SOCK_DGRAM, &port_);
  thread_ = std::thread([this] { Serve(); });
}

FakeDns::~FakeDns() {
  // Wakes the thread: an empty packet from its own address.
  const sockaddr_in self = Loopback(port_);
  sendto(socket_, "", 0, 0, reinterpret_cast<const sockaddr*>(&self),
         sizeof(self));
  thread_.join();
  close(socket_);
}

std::string FakeDns::address() const {
  return "127.0.0.1:" + std::to_string(port_);
}

void FakeDns::Serve() {
  for (;;) {
    char buffer[2048];
    sockaddr_in from;
    socklen_t from_size = sizeof(from);
    const ssize_t size =
        recvfrom(socket_, buffer, sizeof(buffer), 0,
                 reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size == 0) return;
    if (size < 17) continue;
    DnsQuestion question;
    question.packet.assign(buffer, size);
    for (size_t i = 12; i < question.packet.size() && buffer[i] != 0;) {
      const size_t length = static_cast<unsigned char>(buffer[i]);
      if (!question.name.empty()) question.name += '.';
      question.name += question.packet.substr(i + 1, length);
      i += length + 1;
    }
    question.type = static_cast<unsigned char>(buffer[size - 4]) << 8 |
                    static_cast<unsigned char>(buffer[size - 3]);
    for (const std::string& reply : handler_(question)) {
      sendto(socket_, reply.data(), reply.size(), 0,
             reinterpret_cast<const sockaddr*>(&from), from_size);
    }
  }
}

Dnsmasq::Dnsmasq(const std::string& hosts, std::vector<std::string> options,
                 int local_ttl)
    : options_(std::move(options)), local_ttl_(local_ttl) {
  hosts_file_ = ::testing::TempDir() + "/hosts.XXXXXX";
  const int fd = mkstemp(hosts_file_.data());
  close(fd);
  std::ofstream(hosts_file_) << hosts;
  for (int i = 0; i < 20; ++i) {
    port_ = FreePort();
    if (Launch()) return;
  }
  ADD_FAILURE() << "dnsmasq does not run; is dnsmasq-base installed?";
}

Dnsmasq::~Dnsmasq() {
  Kill();
  unlink(hosts_file_.c_str());
}

std::string Dnsmasq::address() const {
  return "127.0.0.1:" + std::to_string(port_);
}

void Dnsmasq::SetHosts(const std::string& hosts) {
  std::ofstream(hosts_file_ + ".new") << hosts;
  rename((hosts_file_ + ".new").c_str(), hosts_file_.c_str());
  if (pid_ != 0) kill(pid_, SIGHUP);
}

void Dnsmasq::Kill() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

void Dnsmasq::Start() {
  for (int i = 0; i < 20; ++i) {
    if (Launch()) return;
  }
  ADD_FAILURE() << "dnsmasq does not start again on port " << port_;
}

bool Dnsmasq::Launch() {
  std::vector<std::string> words = {
      "/usr/sbin/dnsmasq",
      "--no-daemon",  // In the foreground, as this user.
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--bind-interfaces",
      "--listen-address=127.0.0.1",
      "--port=" + std::to_string(port_),
      "--addn-hosts=" + hosts_file_,
      "--local-ttl=" + std::to_string(local_ttl_),
      "--local=/mesh.test/",
  };
  words.insert(words.end(), options_.begin(), options_.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);
  pid_ = fork();
  if (pid_ == 0) {
    // Nothing but system calls here: other threads may have held locks.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(quiet, 1);
    dup2(quiet, 2);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(quiet);
  while (!Answers(port_)) {
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = 0;
      return false;
    }
    usleep(5000);  // An ICMP error comes back at once.
  }
  return true;
}

}  // namespace mesh::discovery
