#include "mesh/discovery/dns_resolver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/base/random.h"

namespace mesh::discovery {
namespace {

constexpr absl::Duration kInitialBackoff = absl::Seconds(1);
constexpr absl::Duration kMaxBackoff = absl::Seconds(30);
constexpr double kJitter = 0.2;

}  // namespace

DnsResolver::DnsResolver(config::DnsOptions options, base::EventLoop* loop)
    : options_(std::move(options)), loop_(loop) {}

DnsResolver::~DnsResolver() { loop_->Cancel(timer_); }

void DnsResolver::Start(Listener listener) {
  listener_ = std::make_shared<const Listener>(std::move(listener));
  if (options_.port == 0) {
    return Report(absl::InvalidArgumentError(
        absl::StrCat("the port of ", options_.name, " must not be 0")));
  }
  Resolve();
}

void DnsResolver::Refresh() {
  if (timer_ == 0 || lookup_ != nullptr || misses_ > 0) return;
  ResolveAt(std::min(next_at_, begun_at_ + options_.min_refresh));
}

void DnsResolver::ResolveAt(absl::Time at) {
  loop_->Cancel(timer_);
  next_at_ = at;
  timer_ = loop_->RunAt(at, [this] { Resolve(); });
}

void DnsResolver::Resolve() {
  begun_at_ = base::Clock::Real().Now();
  lookup_ = std::make_unique<DnsLookup>(options_.name, options_.servers, loop_);
  lookup_->Start([this](DnsAnswer answer) { OnAnswer(std::move(answer)); });
}

void DnsResolver::OnAnswer(DnsAnswer answer) {
  // It called this and goes when this returns.
  const std::unique_ptr<DnsLookup> lookup = std::move(lookup_);
  const absl::Time now = base::Clock::Real().Now();
  if (!answer.status.ok()) {
    ResolveAt(now + Backoff());
    return Report(std::move(answer.status));
  }

  // What one name had says nothing of another.
  const bool other_name = std::exchange(found_, answer.name) != answer.name;
  if (answer.a.status.ok() || other_name) a_ = answer.a.addresses;
  if (answer.aaaa.status.ok() || other_name) aaaa_ = answer.aaaa.addresses;

  const bool complete = answer.a.status.ok() && answer.aaaa.status.ok();
  const bool found = !a_.empty() || !aaaa_.empty();
  absl::Duration wait =
      std::max(options_.min_refresh,
               std::min({answer.a.ttl, answer.aaaa.ttl, options_.max_refresh}));
  if (complete && found) {
    misses_ = 0;
  } else {
    wait = std::min(wait, Backoff());
  }
  ResolveAt(now + wait);

  auto set = std::make_shared<cluster::EndpointSet>();
  set->endpoints = Endpoints();
  Report(std::move(set));
}

absl::Duration DnsResolver::Backoff() {
  const absl::Duration base =
      std::min(kMaxBackoff, kInitialBackoff * std::exp2(std::min(misses_, 10)));
  ++misses_;
  const double spread = 1 - kJitter + 2 * kJitter * base::ThreadRandom().Unit();
  return std::max(options_.min_refresh, base * spread);
}

std::vector<cluster::Endpoint> DnsResolver::Endpoints() const {
  std::vector<cluster::Endpoint> endpoints;
  const auto add = [&](std::string address) {
    endpoints.emplace_back();
    endpoints.back().address = std::move(address);
  };
  for (const std::string& address : a_) {
    add(absl::StrCat(address, ":", options_.port));
  }
  for (const std::string& address : aaaa_) {
    add(absl::StrCat("[", address, "]:", options_.port));
  }
  return endpoints;
}

void DnsResolver::Report(absl::StatusOr<cluster::EndpointSetPtr> update) {
  if (!update.ok()) {
    error_ = update.status();
  } else {
    const bool same = error_.ok() && set_ != nullptr && *set_ == **update;
    if (same && !set_->endpoints.empty()) return;
    error_ = absl::OkStatus();
    set_ = *update;
  }
  // Kept here: the resolver may be destroyed inside the call.
  const std::shared_ptr<const Listener> listener = listener_;
  (*listener)(std::move(update));
}

}  // namespace mesh::discovery
