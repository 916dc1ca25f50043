#ifndef MESH_OPTIONS_ENDPOINTS_H_
#define MESH_OPTIONS_ENDPOINTS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "mesh/cluster/endpoint.h"

// Where the endpoints of a service come from, and how they are used.

namespace mesh::options {

struct EndpointsFileOptions {
  std::string path;  // As it is to be opened.

  bool operator==(const EndpointsFileOptions& o) const {
    return path == o.path;
  }
};

struct DnsOptions {
  std::string name;
  uint16_t port = 0;
  absl::Duration min_refresh = absl::Seconds(1);
  absl::Duration max_refresh = absl::Seconds(300);
  std::vector<std::string> servers;  // "address:port". Empty: the system's.

  bool operator==(const DnsOptions& o) const {
    return name == o.name && port == o.port && min_refresh == o.min_refresh &&
           max_refresh == o.max_refresh && servers == o.servers;
  }
};

// Where endpoints come from.
using EndpointSource =
    std::variant<cluster::EndpointSetPtr, EndpointsFileOptions, DnsOptions>;

enum class BalancingPolicy { kLeastRequest, kRoundRobin };

struct ConnectionOptions {
  int ahead = 32;
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration initial_backoff = absl::Milliseconds(250);
  absl::Duration max_backoff = absl::Seconds(10);
  absl::Duration drain_timeout = absl::Hours(1);
  absl::Duration keepalive_time = absl::InfiniteDuration();  // No pings.
  absl::Duration keepalive_timeout = absl::Seconds(20);

  bool operator==(const ConnectionOptions& o) const {
    return ahead == o.ahead && connect_timeout == o.connect_timeout &&
           initial_backoff == o.initial_backoff &&
           max_backoff == o.max_backoff && drain_timeout == o.drain_timeout &&
           keepalive_time == o.keepalive_time &&
           keepalive_timeout == o.keepalive_timeout;
  }
};

using ChannelArgument = std::variant<int, std::string>;

}  // namespace mesh::options

#endif  // MESH_OPTIONS_ENDPOINTS_H_
