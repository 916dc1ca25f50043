#include "mesh/discovery/dns_resolver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/base/clock.h"
#include "mesh/base/random.h"

namespace mesh::discovery {
namespace {

// However short the configured `min_refresh`.
constexpr absl::Duration kMinRefresh = absl::Milliseconds(10);
constexpr absl::Duration kInitialBackoff = absl::Seconds(1);
constexpr absl::Duration kMaxBackoff = absl::Seconds(30);
constexpr double kJitter = 0.2;

}  // namespace

DnsResolver::DnsResolver(options::DnsOptions options, base::EventLoop* loop)
    : name_(std::move(options.name)),
      port_(options.port),
      servers_(std::move(options.servers)),
      min_refresh_(std::max(kMinRefresh, options.min_refresh)),
      max_refresh_(std::max(min_refresh_, options.max_refresh)),
      loop_(loop) {}

DnsResolver::~DnsResolver() { loop_->Cancel(timer_); }

void DnsResolver::Start(Listener listener) {
  listener_ = std::make_shared<const Listener>(std::move(listener));
  if (port_ == 0) {
    return Report(absl::InvalidArgumentError(
        absl::StrCat("the port of \"", name_, "\" must not be 0.")));
  }
  Resolve();
}

void DnsResolver::Refresh() {
  if (timer_ == 0 || lookup_ != nullptr || misses_ > 0) return;
  ResolveAt(std::min(next_at_, begun_at_ + min_refresh_));
}

void DnsResolver::AskAgain() {
  if (timer_ == 0 || lookup_ != nullptr) return;
  const absl::Time at = begun_at_ + std::max(kInitialBackoff, min_refresh_);
  if (at < next_at_) ResolveAt(at);
}

void DnsResolver::ResolveAt(absl::Time at) {
  loop_->Cancel(timer_);
  next_at_ = at;
  timer_ = loop_->RunAt(at, [this] { Resolve(); });
}

void DnsResolver::Resolve() {
  begun_at_ = base::Clock::Real().Now();
  lookup_ = std::make_unique<DnsLookup>(name_, servers_, loop_);
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
  absl::Duration wait = std::clamp(std::min(answer.a.ttl, answer.aaaa.ttl),
                                   min_refresh_, max_refresh_);
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
  return std::max(min_refresh_, base * spread);
}

std::vector<cluster::Endpoint> DnsResolver::Endpoints() const {
  std::vector<cluster::Endpoint> endpoints;
  const auto add = [&](std::string address) {
    endpoints.emplace_back();
    endpoints.back().address = std::move(address);
  };
  for (const std::string& address : a_) {
    add(absl::StrCat(address, ":", port_));
  }
  for (const std::string& address : aaaa_) {
    add(absl::StrCat("[", address, "]:", port_));
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
