#include "mesh/simulation/description.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mesh::simulation {
namespace {

absl::Status Wrong(absl::string_view field, size_t index,
                   absl::string_view what, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, "[", index, "].", what, " ", problem, "."));
}

absl::Status CheckServers(absl::string_view field,
                          const std::vector<Server>& servers,
                          std::set<std::string>& addresses) {
  for (size_t i = 0; i < servers.size(); ++i) {
    const Server& server = servers[i];
    if (server.address.empty() || !addresses.insert(server.address).second) {
      return Wrong(field, i, "address",
                   absl::StrCat("must be there and unique, but is \"",
                                server.address, "\""));
    }
    if (absl::Status status = server.latency.Check(); !status.ok()) {
      return Wrong(field, i, "latency", status.message());
    }
    if (absl::Status status = server.network.Check(); !status.ok()) {
      return Wrong(field, i, "network", status.message());
    }
    if (server.slots < 0) {
      return Wrong(field, i, "slots",
                   absl::StrCat("must not be negative, but is ", server.slots));
    }
    if (server.queue < 0) {
      return Wrong(field, i, "queue",
                   absl::StrCat("must not be negative, but is ", server.queue));
    }
    if (server.weight == 0) {
      return Wrong(field, i, "weight", "must not be 0");
    }
    if (server.listed_until < server.listed_from) {
      return Wrong(field, i, "listed_until", "is before listed_from");
    }
  }
  return absl::OkStatus();
}

Fault MakeFault(Fault::Kind kind, std::string address, absl::Duration from,
                absl::Duration until) {
  Fault fault;
  fault.kind = kind;
  fault.address = std::move(address);
  fault.from = from;
  fault.until = until;
  return fault;
}

absl::Status CheckFault(const Fault& fault, size_t i,
                        const std::set<std::string>& addresses) {
  if (addresses.count(fault.address) == 0) {
    return Wrong(
        "faults", i, "address",
        absl::StrCat("is \"", fault.address, "\", which is no server's"));
  }
  if (fault.from < absl::ZeroDuration() || fault.until < fault.from) {
    return Wrong("faults", i, "from",
                 absl::StrCat("must be in 0s..until, but is ",
                              absl::FormatDuration(fault.from)));
  }
  if (!(fault.factor > 0 && fault.factor <= 1e6)) {
    return Wrong(
        "faults", i, "factor",
        absl::StrCat("must be above 0 and at most 1e6, but is ", fault.factor));
  }
  if (!(fault.share >= 0 && fault.share <= 1)) {
    return Wrong("faults", i, "share",
                 absl::StrCat("must be in 0..1, but is ", fault.share));
  }
  if (static_cast<int>(fault.code) < 1 || static_cast<int>(fault.code) > 16) {
    return Wrong("faults", i, "code", "must be an error");
  }
  if (fault.after.has_value() && !(*fault.after >= absl::ZeroDuration() &&
                                   *fault.after <= absl::Hours(24))) {
    return Wrong("faults", i, "after",
                 absl::StrCat("must be in 0s..24h, but is ",
                              absl::FormatDuration(*fault.after)));
  }
  if (fault.period < absl::ZeroDuration() ||
      (fault.period > absl::ZeroDuration() &&
       fault.period < absl::Milliseconds(1))) {
    return Wrong("faults", i, "period",
                 absl::StrCat("must be 0s or at least 1ms, but is ",
                              absl::FormatDuration(fault.period)));
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const Request& request, size_t load, size_t i) {
  const auto wrong = [&](absl::string_view what, absl::string_view problem) {
    return Wrong(absl::StrCat("loads[", load, "].requests"), i, what, problem);
  };
  if (!(request.weight > 0 && request.weight <= 1e9)) {
    return wrong("weight",
                 absl::StrCat("must be above 0 and at most 1e9, but is ",
                              request.weight));
  }
  if (request.work.has_value()) {
    if (absl::Status status = request.work->Check(); !status.ok()) {
      return wrong("work", status.message());
    }
  }
  if (!(request.fails >= 0 && request.fails <= 1)) {
    return wrong("fails",
                 absl::StrCat("must be in 0..1, but is ", request.fails));
  }
  if (static_cast<int>(request.code) < 1 ||
      static_cast<int>(request.code) > 16) {
    return wrong("code", "must be an error");
  }
  if (!(request.fails_after >= absl::ZeroDuration() &&
        request.fails_after <= absl::Hours(24))) {
    return wrong("fails_after",
                 absl::StrCat("must be in 0s..24h, but is ",
                              absl::FormatDuration(request.fails_after)));
  }
  return absl::OkStatus();
}

absl::Status CheckLoad(const Load& load, size_t i) {
  if (!(load.rate >= 0 && load.rate <= 1e9)) {
    return Wrong("loads", i, "rate",
                 absl::StrCat("must be in 0..1e9, but is ", load.rate));
  }
  if (load.callers < 0 || (load.rate > 0) == (load.callers > 0)) {
    return Wrong("loads", i, "callers",
                 "must be above 0 in a closed loop, and 0 where there is a "
                 "rate");
  }
  if (load.callers > 0 && load.think.Check().ok() &&
      load.deadline <= absl::ZeroDuration()) {
    return Wrong("loads", i, "deadline",
                 "must be above 0s in a closed loop: time would stand still");
  }
  if (absl::Status status = load.think.Check(); !status.ok()) {
    return Wrong("loads", i, "think", status.message());
  }
  if (absl::Status status = load.cancel_after.Check(); !status.ok()) {
    return Wrong("loads", i, "cancel_after", status.message());
  }
  if (load.from < absl::ZeroDuration()) {
    return Wrong("loads", i, "from", "must not be negative");
  }
  if (!(load.cancel_share >= 0 && load.cancel_share <= 1)) {
    return Wrong("loads", i, "cancel_share",
                 absl::StrCat("must be in 0..1, but is ", load.cancel_share));
  }
  for (size_t k = 0; k < load.requests.size(); ++k) {
    absl::Status status = CheckRequest(load.requests[k], i, k);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

Fault Fault::Down(std::string address, absl::Duration from,
                  absl::Duration until) {
  return MakeFault(Kind::kDown, std::move(address), from, until);
}
Fault Fault::Draining(std::string address, absl::Duration from,
                      absl::Duration until) {
  return MakeFault(Kind::kDraining, std::move(address), from, until);
}
Fault Fault::Silence(std::string address, absl::Duration from,
                     absl::Duration until) {
  return MakeFault(Kind::kSilence, std::move(address), from, until);
}
Fault Fault::Slow(std::string address, absl::Duration from,
                  absl::Duration until, double factor) {
  Fault fault = MakeFault(Kind::kSlow, std::move(address), from, until);
  fault.factor = factor;
  return fault;
}
Fault Fault::Errors(std::string address, absl::Duration from,
                    absl::Duration until, double share, absl::StatusCode code) {
  Fault fault = MakeFault(Kind::kErrors, std::move(address), from, until);
  fault.share = share;
  fault.code = code;
  return fault;
}

Fault Fault::DeadConnections(std::string address, absl::Duration at) {
  return MakeFault(Kind::kDeadConnections, std::move(address), at,
                   absl::InfiniteDuration());
}

Load Load::Open(std::string method, double rate) {
  Load load;
  load.method = std::move(method);
  load.rate = rate;
  return load;
}
Load Load::Closed(std::string method, int callers) {
  Load load;
  load.method = std::move(method);
  load.callers = callers;
  return load;
}

absl::Status Check(const Cluster& cluster, const Options& options) {
  if (!(options.duration > absl::ZeroDuration() &&
        options.duration <= absl::Hours(24 * 365))) {
    return absl::InvalidArgumentError(
        absl::StrCat("duration must be above 0s and at most a year, but is ",
                     absl::FormatDuration(options.duration), "."));
  }
  if (options.step < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("step must be at least 1ms, but is ",
                     absl::FormatDuration(options.step), "."));
  }
  if (!(options.chaos >= 0 && options.chaos <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("chaos must be in 0..1, but is ", options.chaos, "."));
  }
  if (cluster.clients < 1 || cluster.clients > 10'000) {
    return absl::InvalidArgumentError(absl::StrCat(
        "clients must be in 1..10000, but is ", cluster.clients, "."));
  }
  for (const auto* delay : {&cluster.detection, &cluster.reconnection}) {
    if (absl::Status status = delay->Check(); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          delay == &cluster.detection ? "detection " : "reconnection ",
          status.message(), "."));
    }
  }
  std::set<std::string> addresses;
  if (absl::Status status = CheckServers("servers", cluster.servers, addresses);
      !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < cluster.behind.size(); ++i) {
    const Tier& tier = cluster.behind[i];
    if (absl::Status status = CheckServers(
            absl::StrCat("behind[", i, "].servers"), tier.servers, addresses);
        !status.ok()) {
      return status;
    }
    if (tier.deadline <= absl::ZeroDuration()) {
      return Wrong("behind", i, "deadline", "must be above 0s");
    }
  }
  for (size_t i = 0; i < cluster.faults.size(); ++i) {
    absl::Status status = CheckFault(cluster.faults[i], i, addresses);
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < cluster.loads.size(); ++i) {
    absl::Status status = CheckLoad(cluster.loads[i], i);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace mesh::simulation
