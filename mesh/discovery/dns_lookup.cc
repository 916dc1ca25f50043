#include "mesh/discovery/dns_lookup.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mesh/base/clock.h"
#include "mesh/base/file.h"

namespace mesh::discovery {
namespace {

constexpr char kHostsFile[] = "/etc/hosts";
// A hosts file says nothing of how long it holds.
constexpr absl::Duration kHostsTtl = absl::Seconds(5);

// Each server is asked kTries times, waiting kTryTimeout for an answer and
// twice as long each further time: a silent server costs 14 s.
constexpr absl::Duration kTryTimeout = absl::Seconds(2);
constexpr int kTries = 3;

// The bytes of an address, in network order.
using Ipv4 = std::array<unsigned char, 4>;
using Ipv6 = std::array<unsigned char, 16>;

std::string Text(const Ipv4& address) {
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, address.data(), text, sizeof(text));
  return text;
}
std::string Text(const Ipv6& address) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, address.data(), text, sizeof(text));
  return text;
}

// Sorted, each once.
template <typename Address>
std::vector<std::string> Texts(std::vector<Address> addresses) {
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()),
                  addresses.end());
  std::vector<std::string> result;
  for (const Address& address : addresses) result.push_back(Text(address));
  return result;
}

// c-ares has one parser a type, of the same shape.
struct AType {
  using Address = Ipv4;
  using Record = ares_addrttl;
  // The least size of a record in a reply.
  static constexpr size_t kMinSize = 15;
  static int Parse(const unsigned char* reply, int size, Record* records,
                   int* n) {
    return ares_parse_a_reply(reply, size, nullptr, records, n);
  }
  static const void* Bytes(const Record& record) { return &record.ipaddr; }
};
struct AaaaType {
  using Address = Ipv6;
  using Record = ares_addr6ttl;
  static constexpr size_t kMinSize = 27;
  static int Parse(const unsigned char* reply, int size, Record* records,
                   int* n) {
    return ares_parse_aaaa_reply(reply, size, nullptr, records, n);
  }
  static const void* Bytes(const Record& record) { return &record.ip6addr; }
};

// The records of type Type in `reply`; otherwise c-ares' status.
template <typename Type>
int Parse(const unsigned char* reply, int size, DnsRecords* result) {
  std::vector<typename Type::Record> records(size / Type::kMinSize + 1);
  int n = static_cast<int>(records.size());
  const int status = Type::Parse(reply, size, records.data(), &n);
  if (status != ARES_SUCCESS) return status;
  std::vector<typename Type::Address> addresses;
  for (int i = 0; i < n; ++i) {
    typename Type::Address address;
    std::memcpy(address.data(), Type::Bytes(records[i]), address.size());
    // 0.0.0.0 and ::, with which blocking name servers answer, are nobody's
    // address: the kernel would connect to this machine.
    if (address == typename Type::Address{}) continue;
    addresses.push_back(address);
    // A TTL of 2^31 and more, negative here, counts as 0 (RFC 2181, 8).
    result->ttl =
        std::min(result->ttl, absl::Seconds(std::max(records[i].ttl, 0)));
  }
  result->addresses = Texts(std::move(addresses));
  return result->addresses.empty() ? ARES_ENODATA : ARES_SUCCESS;
}

absl::Status InitCares() {
  // Once a process, and never undone: other libraries use c-ares too.
  static const int status = ares_library_init(ARES_LIB_INIT_ALL);
  if (status == ARES_SUCCESS) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "the DNS library c-ares could not be started: ", ares_strerror(status),
      "."));
}

bool IsLocalhost(absl::string_view name) {
  return absl::EqualsIgnoreCase(name, "localhost") ||
         absl::EndsWithIgnoreCase(name, ".localhost");
}

}  // namespace

absl::Status ValidateDnsName(absl::string_view name) {
  const absl::string_view full = name;
  absl::ConsumeSuffix(&name, ".");
  if (name.size() > 253) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name \"", full.substr(0, 40), "...\" has ",
                     name.size(), " characters, but at most 253 are allowed."));
  }
  for (absl::string_view label : absl::StrSplit(name, '.')) {
    if (label.empty() || label.size() > 63) {
      return absl::InvalidArgumentError(
          absl::StrCat("the name \"", full, "\" has a part of ", label.size(),
                       " characters, but each must have 1 to 63."));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> SearchNames(const std::string& name, int ndots,
                                     const std::vector<std::string>& domains) {
  if (absl::EndsWith(name, ".")) return {name};
  std::vector<std::string> names;
  for (const std::string& domain : domains) {
    std::string longer =
        absl::StrCat(name, ".", absl::StripPrefix(domain, "."));
    if (ValidateDnsName(longer).ok()) names.push_back(std::move(longer));
  }
  const bool first = std::count(name.begin(), name.end(), '.') >= ndots;
  names.insert(first ? names.begin() : names.end(), name);
  return names;
}

std::optional<DnsAnswer> LocalAnswer(absl::string_view name,
                                     absl::string_view hosts) {
  std::vector<Ipv4> a;
  std::vector<Ipv6> aaaa;
  const auto add = [&](const std::string& text) {
    Ipv4 v4;
    Ipv6 v6;
    if (inet_pton(AF_INET, text.c_str(), v4.data()) == 1) {
      a.push_back(v4);
    } else if (inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) {
      aaaa.push_back(v6);
    } else {
      return false;
    }
    return true;
  };
  const auto answer = [&](absl::Duration ttl) {
    DnsAnswer result;
    result.name = std::string(name);
    result.a.addresses = Texts(std::move(a));
    result.aaaa.addresses = Texts(std::move(aaaa));
    result.a.ttl = result.aaaa.ttl = ttl;
    return result;
  };

  absl::string_view address = name;
  if (absl::ConsumePrefix(&address, "[")) absl::ConsumeSuffix(&address, "]");
  if (add(std::string(address))) return answer(absl::InfiniteDuration());

  absl::ConsumeSuffix(&name, ".");
  for (absl::string_view line : absl::StrSplit(hosts, '\n')) {
    line = line.substr(0, line.find('#'));
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    for (size_t i = 1; i < words.size(); ++i) {
      if (!absl::EqualsIgnoreCase(words[i], name)) continue;
      add(words[0]);
      break;
    }
  }
  if (!a.empty() || !aaaa.empty()) return answer(kHostsTtl);

  if (!IsLocalhost(name)) return std::nullopt;
  add("127.0.0.1");
  add("::1");
  return answer(absl::InfiniteDuration());
}

DnsLookup::DnsLookup(std::string name, std::vector<std::string> servers,
                     base::EventLoop* loop)
    : name_(std::move(name)), servers_(std::move(servers)), loop_(loop) {}

DnsLookup::~DnsLookup() {
  for (Question* question : {&a_, &aaaa_}) {
    loop_->Cancel(question->timer);
    // Calls OnReply(), which does no harm, and OnSocket() for each socket.
    if (question->channel != nullptr) ares_destroy(question->channel);
  }
}

void DnsLookup::Start(Done done) {
  done_ = std::move(done);
  std::string hosts;
  if (servers_.empty()) {
    hosts = base::ReadFile(kHostsFile).value_or("");
  }
  if (std::optional<DnsAnswer> answer = LocalAnswer(name_, hosts)) {
    return Finish(*std::move(answer));
  }
  absl::Status status = ValidateDnsName(name_);
  if (status.ok()) status = Open(&a_);
  if (status.ok()) status = Open(&aaaa_);
  if (!status.ok()) {
    DnsAnswer answer;
    answer.status = std::move(status);
    return Finish(std::move(answer));
  }
  candidates_ = Candidates();
  Ask(candidates_[0]);
  Proceed();
}

absl::Status DnsLookup::Open(Question* question) {
  absl::Status status = InitCares();
  if (!status.ok()) return status;
  ares_options options = {};
  options.sock_state_cb = &DnsLookup::OnSocket;
  options.sock_state_cb_data = question;
  options.timeout = static_cast<int>(absl::ToInt64Milliseconds(kTryTimeout));
  options.tries = kTries;
  int result = ares_init_options(
      &question->channel, &options,
      ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  if (result != ARES_SUCCESS) {
    question->channel = nullptr;
    return absl::UnavailableError(
        absl::StrCat("DNS could not be asked: ", ares_strerror(result), "."));
  }
  if (servers_.empty()) return absl::OkStatus();
  const std::string servers = absl::StrJoin(servers_, ",");
  result = ares_set_servers_ports_csv(question->channel, servers.c_str());
  if (result != ARES_SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name servers \"", servers,
                     "\" cannot be used: ", ares_strerror(result), "."));
  }
  return absl::OkStatus();
}

std::vector<std::string> DnsLookup::Candidates() const {
  if (!servers_.empty()) return {name_};
  ares_options system = {};
  int mask = 0;
  std::vector<std::string> domains;
  int ndots = 1;
  if (ares_save_options(a_.channel, &system, &mask) == ARES_SUCCESS) {
    if ((mask & ARES_OPT_NDOTS) != 0) ndots = system.ndots;
    if ((mask & ARES_OPT_DOMAINS) != 0) {
      domains.assign(system.domains, system.domains + system.ndomains);
    }
  }
  ares_destroy_options(&system);
  return SearchNames(name_, ndots, domains);
}

void DnsLookup::Ask(const std::string& name) {
  for (Question* question : {&a_, &aaaa_}) {
    question->outcome = Outcome::kAsked;
    question->records = {};
  }
  ares_query(a_.channel, name.c_str(), ns_c_in, ns_t_a,
             &DnsLookup::OnReply<AType>, &a_);
  ares_query(aaaa_.channel, name.c_str(), ns_c_in, ns_t_aaaa,
             &DnsLookup::OnReply<AaaaType>, &aaaa_);
}

void DnsLookup::OnSocket(void* data, ares_socket_t fd, int read, int write) {
  Question* const question = static_cast<Question*>(data);
  DnsLookup* const lookup = question->lookup;
  const short events = (read ? POLLIN : 0) | (write ? POLLOUT : 0);
  lookup->loop_->Watch(fd, events, [lookup, question, fd](short ready) {
    // An error is found by reading or writing.
    if ((ready & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
      ready |= POLLIN | POLLOUT;
    }
    lookup->Process(question, (ready & POLLIN) != 0 ? fd : ARES_SOCKET_BAD,
                    (ready & POLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
  });
}

template <typename Type>
void DnsLookup::OnReply(void* data, int status, int, unsigned char* reply,
                        int size) {
  Question* const question = static_cast<Question*>(data);
  if (status == ARES_SUCCESS) {
    status = Parse<Type>(reply, size, &question->records);
  }
  switch (status) {
    case ARES_SUCCESS:
      question->outcome = Outcome::kAddresses;
      return;
    case ARES_ENODATA:
      question->outcome = Outcome::kNoRecords;
      return;
    case ARES_ENOTFOUND:
      question->outcome = Outcome::kNoName;
      return;
    default:
      question->outcome = Outcome::kError;
      question->records = {};
      question->records.status = absl::UnavailableError(ares_strerror(status));
      return;
  }
}

void DnsLookup::Process(Question* question, ares_socket_t read,
                        ares_socket_t write) {
  ares_process_fd(question->channel, read, write);
  Proceed();
}

void DnsLookup::Proceed() {
  const auto either = [this](Outcome outcome) {
    return a_.outcome == outcome || aaaa_.outcome == outcome;
  };
  while (!either(Outcome::kAsked)) {
    DnsAnswer answer;
    answer.name = candidates_[candidate_];
    answer.a = a_.records;
    answer.aaaa = aaaa_.records;
    if (either(Outcome::kAddresses)) return Finish(std::move(answer));
    if (either(Outcome::kError)) {
      const DnsRecords& failed = answer.a.status.ok() ? answer.aaaa : answer.a;
      answer.status = absl::UnavailableError(
          absl::StrCat("the name \"", answer.name, "\" could not be resolved: ",
                       failed.status.message(), AskedServers(), "."));
      return Finish(std::move(answer));
    }
    if (either(Outcome::kNoRecords) && !exists_) exists_ = answer.name;
    if (++candidate_ == candidates_.size()) {
      answer.name = exists_.value_or(name_);
      if (!exists_) {
        answer.status = absl::NotFoundError(absl::StrCat(
            "the name \"", name_, "\" does not exist", AskedServers(), "."));
      }
      return Finish(std::move(answer));
    }
    Ask(candidates_[candidate_]);
  }
  SetTimer(&a_);
  SetTimer(&aaaa_);
}

void DnsLookup::SetTimer(Question* question) {
  loop_->Cancel(question->timer);
  timeval wait;
  if (ares_timeout(question->channel, nullptr, &wait) == nullptr) return;
  // A little late rather than early: c-ares would have nothing to do yet.
  question->timer =
      loop_->RunAt(base::Clock::Real().Now() + absl::DurationFromTimeval(wait) +
                       absl::Milliseconds(1),
                   [this, question] {
                     Process(question, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
                   });
}

std::string DnsLookup::AskedServers() const {
  if (servers_.empty()) return "";
  return absl::StrCat(" (asked ", absl::StrJoin(servers_, ", "), ")");
}

void DnsLookup::Finish(DnsAnswer answer) {
  const Done done = std::move(done_);
  done(std::move(answer));
}

}  // namespace mesh::discovery
