#include "benchmarks/identity/sockets.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::string_view kEstablished = "01";

// The port of "0100007F:9A3C", or -1.
int PortOfHex(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return -1;
  return static_cast<int>(
      std::strtol(std::string(address.substr(colon + 1)).c_str(), nullptr, 16));
}

}  // namespace

std::set<Pair> OpenPairs(absl::string_view proc_net_tcp,
                         const std::set<int>& servers) {
  std::set<Pair> pairs;
  for (const absl::string_view line : absl::StrSplit(proc_net_tcp, '\n')) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 4 || words[3] != kEstablished) continue;
    const int here = PortOfHex(words[1]);
    const int there = PortOfHex(words[2]);
    if (servers.count(there) > 0) pairs.insert({here, there});
    if (servers.count(here) > 0) pairs.insert({there, here});
  }
  return pairs;
}

void ConnectionLog::Look(const std::set<Pair>& open, absl::Time now) {
  std::map<Pair, Connection> next;
  for (const Pair& pair : open) {
    const auto before = open_.find(pair);
    if (before != open_.end()) {
      next[pair] = std::move(before->second);
      continue;
    }
    Connection& connection = next[pair];
    const auto early = early_.find(pair);
    if (early != early_.end()) connection = std::move(early->second);
    connection.since = now;
  }
  open_.swap(next);
  for (auto it = early_.begin(); it != early_.end();) {
    const absl::Time at = std::max(it->second.client.at, it->second.server.at);
    it = now - at > kLookEvery ? early_.erase(it) : std::next(it);
  }
}

void ConnectionLog::SeenByServer(const Pair& pair, std::string serial,
                                 absl::Time at) {
  const auto it = open_.find(pair);
  // What is told late may be of an earlier connection of these ports.
  if (it != open_.end() && at + kLookEvery < it->second.since) return;
  Connection& connection = it != open_.end() ? it->second : early_[pair];
  connection.client = {std::move(serial), at};
}

void ConnectionLog::SeenByClient(const Pair& pair, std::string serial,
                                 absl::Time at) {
  const auto it = open_.find(pair);
  if (it != open_.end() && at + kLookEvery < it->second.since) return;
  Connection& connection = it != open_.end() ? it->second : early_[pair];
  connection.server = {std::move(serial), at};
}

std::string ConnectionLog::ShownBy(const Seen& end) {
  if (end.at == absl::InfinitePast()) return "nobody knows what";
  return absl::StrCat(
      end.serial.empty() ? "nothing" : end.serial, " (at ",
      absl::FormatTime("%H:%M:%E3S", end.at, absl::UTCTimeZone()), ")");
}

ConnectionLog::Count ConnectionLog::Bad(
    const std::function<bool(const std::string& serial)>& is_bad,
    absl::Time good_since) const {
  Count count;
  for (const auto& [pair, connection] : open_) {
    const Seen* const ends[] = {&connection.client, &connection.server};
    bool is_known = false, bad = false;
    for (const Seen* end : ends) {
      if (end->at == absl::InfinitePast()) continue;
      is_known = true;
      bad = bad || is_bad(end->serial);
    }
    const bool unknown = !is_known && connection.since < good_since;
    if (!bad && !unknown) continue;
    ++(bad ? count.known : count.unknown);
    count.which.push_back(absl::StrCat(
        "ports ", pair.first, " to ", pair.second, ", open since ",
        absl::FormatTime("%H:%M:%E3S", connection.since, absl::UTCTimeZone()),
        ", the client showed ", ShownBy(connection.client), ", the server ",
        ShownBy(connection.server)));
  }
  return count;
}

}  // namespace mesh::benchmarks
