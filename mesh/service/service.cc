#include "mesh/service/service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/base/optimization.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/impl/codegen/config_protobuf.h"
#include "mesh/base/clock.h"
#include "mesh/base/random.h"
#include "mesh/upstream/placeholder.h"

namespace mesh::service {
namespace {

using cluster::Readiness;

// How often retired endpoints are looked at.
constexpr absl::Duration kSweepEvery = absl::Milliseconds(100);

// Most lines about the health of endpoints that a service logs in a second.
constexpr int kMostHealthLines = 10;

Readiness ToReadiness(grpc_connectivity_state state) {
  switch (state) {
    case GRPC_CHANNEL_IDLE:
      return Readiness::kIdle;
    case GRPC_CHANNEL_CONNECTING:
      return Readiness::kConnecting;
    case GRPC_CHANNEL_READY:
      return Readiness::kReady;
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
    case GRPC_CHANNEL_SHUTDOWN:
      return Readiness::kFailed;
  }
  return Readiness::kFailed;
}

// As gRPC's round_robin aggregates: the best that any endpoint has.
grpc_connectivity_state Aggregate(const std::vector<cluster::Member>& members,
                                  bool resolved) {
  if (members.empty()) {
    return resolved ? GRPC_CHANNEL_TRANSIENT_FAILURE : GRPC_CHANNEL_IDLE;
  }
  bool connecting = false;
  bool idle = false;
  for (const cluster::Member& member : members) {
    switch (member.live->readiness()) {
      case Readiness::kReady:
        return GRPC_CHANNEL_READY;
      case Readiness::kConnecting:
        connecting = true;
        break;
      case Readiness::kIdle:
        idle = true;
        break;
      case Readiness::kFailed:
        break;
    }
  }
  if (connecting) return GRPC_CHANNEL_CONNECTING;
  return idle ? GRPC_CHANNEL_IDLE : GRPC_CHANNEL_TRANSIENT_FAILURE;
}

// The method's `idempotency_level`, where this process has its descriptor.
std::optional<bool> IdempotencyLevel(absl::string_view method) {
  std::string full_name(method.substr(method.substr(0, 1) == "/" ? 1 : 0));
  std::replace(full_name.begin(), full_name.end(), '/', '.');
  const auto* const descriptor =
      grpc::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
          full_name);
  if (descriptor == nullptr) return std::nullopt;
  return descriptor->options().idempotency_level() !=
         google::protobuf::MethodOptions::IDEMPOTENCY_UNKNOWN;
}

std::shared_ptr<telemetry::Observer> WithApplications(
    std::shared_ptr<telemetry::Observer> metrics,
    std::vector<std::shared_ptr<telemetry::Observer>> observers) {
  if (observers.empty()) return metrics;
  observers.insert(observers.begin(), std::move(metrics));
  return std::make_shared<telemetry::FanOut>(std::move(observers));
}

std::shared_ptr<ConnectedEndpoint> Connected(
    const cluster::LiveEndpointPtr& endpoint) {
  return std::static_pointer_cast<ConnectedEndpoint>(endpoint);
}

}  // namespace

std::shared_ptr<Service> Service::Create(
    std::shared_ptr<Runtime> runtime, std::string name,
    std::shared_ptr<const options::ServiceOptions> options) {
  // What a service holds belongs to the control thread, so it is destroyed
  // there, wherever the last reference is dropped. The runtime is kept until
  // then.
  auto* const made = new Service(runtime, std::move(name), std::move(options));
  std::shared_ptr<Service> service(made, [](Service* gone) {
    std::shared_ptr<Runtime> runtime = gone->runtime_;
    base::EventLoop& loop = runtime->loop();
    loop.Post([gone, runtime = std::move(runtime)]() mutable {
      delete gone;
      runtime.reset();
    });
  });
  made->self_ = service;
  return service;
}

Service::Service(std::shared_ptr<Runtime> runtime, std::string name,
                 std::shared_ptr<const options::ServiceOptions> options)
    : runtime_(std::move(runtime)),
      name_(std::move(name)),
      prober_(&runtime_->queue()),
      metrics_(std::make_shared<telemetry::ServiceMetrics>(
          name_, runtime_->telemetry().max_methods)),
      observer_(WithApplications(metrics_, runtime_->observers())),
      other_methods_(metrics_->Method("", /*registered=*/false)),
      fallback_(runtime_->FallbackOf(name_)),
      upstream_(UpstreamSettings(options)) {
  auto first = std::make_shared<ServiceSnapshot>();
  first->policies = upstream::MethodPolicies(std::move(options));
  first->picker = upstream::NoEndpointsPicker(absl::OkStatus());
  snapshot_.Set(std::move(first));
}

upstream::Upstream::Settings Service::UpstreamSettings(
    std::shared_ptr<const options::ServiceOptions> options) {
  upstream::Upstream::Settings settings;
  settings.name = name_;
  settings.options = std::move(options);
  settings.observer = observer_.get();
  settings.host = this;
  settings.max_latencies =
      static_cast<size_t>(runtime_->telemetry().max_methods);
  settings.now = base::Clock::Real().Now();
  return settings;
}

Service::~Service() {
  base::EventLoop& loop = runtime_->loop();
  if (filter_timer_ != 0) loop.Cancel(filter_timer_);
  if (sweep_timer_ != 0) loop.Cancel(sweep_timer_);
  resolver_.reset();
  for (const cluster::Member& member : members_) {
    member.live->Close();
    Connected(member.live)->Disconnect();
  }
  for (const Retired& retired : retired_) retired.endpoint->Disconnect();
  {
    // Who still watches is told, as gRPC tells of a channel's end.
    base::MutexLock lock(&state_mu_);
    state_ = GRPC_CHANNEL_SHUTDOWN;
  }
  FireStateWatches();
  base::MutexLock lock(&methods_mu_);
  for (auto& [name, method] : methods_) grpc_slice_unref(method->path);
}

Method* Service::RegisterMethod(absl::string_view name) {
  bool added = false;
  Method* result;
  {
    base::MutexLock lock(&methods_mu_);
    std::unique_ptr<Method>& method = methods_[name];
    if (method == nullptr) {
      method = std::make_unique<Method>();
      method->name = std::string(name);
      method->index = methods_by_index_.size();
      method->path = grpc_slice_from_copied_buffer(name.data(), name.size());
      method->metrics = metrics_->Method(name, /*registered=*/true);
      method->idempotent = IdempotencyLevel(name);
      methods_by_index_.push_back(method.get());
      added = true;
    }
    result = method.get();
  }
  if (added) {
    runtime_->loop().Post([self = self_] {
      if (auto service = self.lock()) service->PublishSoon();
    });
  }
  return result;
}

Method* Service::FindMethod(absl::string_view name) {
  base::MutexLock lock(&methods_mu_);
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : found->second.get();
}

// --- Health

void Service::SendProbe(cluster::LiveEndpoint* endpoint) {
  const std::string method =
      upstream_.BeginProbe(endpoint, base::Clock::Real().Now());
  std::shared_ptr<ConnectedEndpoint> connected =
      static_cast<ConnectedEndpoint*>(endpoint)->shared_from_this();
  prober_.Probe(std::move(connected), method,
                [self = self_, endpoint](bool answered) {
                  const auto service = self.lock();
                  if (service == nullptr) return endpoint->Release();
                  service->upstream_.EndProbe(endpoint, answered,
                                              base::Clock::Real().Now());
                });
}

void Service::OnHealthChange(const resilience::HealthChange& change) {
  // Not here: whoever logs may take its time.
  runtime_->loop().Post(
      [self = self_,
       line = absl::StrCat(name_, ": ", change.endpoint->endpoint().address,
                           " was ", cluster::NameOf(change.from), " and is ",
                           cluster::NameOf(change.to), ": ",
                           cluster::NameOf(change.cause))] {
        if (auto service = self.lock()) service->LogHealth(line);
      });
}

void Service::LogHealth(const std::string& line) {
  const absl::Time now = base::Clock::Real().Now();
  if (now - health_lines_since_ >= absl::Seconds(1)) {
    if (health_lines_ > kMostHealthLines) {
      runtime_->Log(LogSeverity::kInfo,
                    absl::StrCat(name_, ": ", health_lines_ - kMostHealthLines,
                                 " more changes of health were not logged"));
    }
    health_lines_since_ = now;
    health_lines_ = 0;
  }
  if (++health_lines_ <= kMostHealthLines) {
    runtime_->Log(LogSeverity::kInfo, line);
  }
}

// --- Parked calls

uint64_t Service::Park(Waiter* call, const ServiceSnapshot* seen, absl::Time at,
                       grpc_call* parent) {
  uint64_t id;
  {
    base::MutexLock lock(&parked_mu_);
    id = next_parked_++;
    Parked& parked = parked_[id];
    parked.call = call;
    parked.until_endpoints_change = seen != nullptr;
    if (at != absl::InfiniteFuture()) {
      parked.timer = runtime_->loop().RunAt(at, [self = self_, id] {
        if (auto service = self.lock()) service->Wakeup(id, Wake::kTimer);
      });
    }
    if (seen != nullptr) {
      // A snapshot that was published before the call was in the list has not
      // woken it. Publish() sets the snapshot first and then takes this lock.
      const bool missed = snapshot_.Get().get() != seen;
      runtime_->loop().Post([self = self_, missed] {
        auto service = self.lock();
        if (service == nullptr) return;
        service->WantConnection();
        if (missed) service->PublishSoon();
      });
    }
  }
  if (ABSL_PREDICT_FALSE(parent != nullptr)) WatchParent(id, parent);
  return id;
}

void Service::WatchParent(uint64_t id, grpc_call* parent) {
  auto watch = std::make_unique<core::ParentWatch>(
      runtime_->in_process().NewSilentCall(parent), [self = self_, id] {
        if (auto service = self.lock()) service->CancelParked(id);
      });
  base::MutexLock lock(&parked_mu_);
  const auto found = parked_.find(id);
  // If it has been resumed already the watch goes, after the lock.
  if (found != parked_.end()) found->second.parent = std::move(watch);
}

void Service::CancelParked(uint64_t id) {
  runtime_->loop().Post([self = self_, id] {
    if (auto service = self.lock()) service->Wakeup(id, Wake::kCancelled);
  });
}

void Service::Wakeup(uint64_t id, Wake why) {
  Waiter* call;
  std::unique_ptr<core::ParentWatch> parent;
  {
    base::MutexLock lock(&parked_mu_);
    const auto found = parked_.find(id);
    if (found == parked_.end()) return;
    call = found->second.call;
    parent = std::move(found->second.parent);
    if (found->second.timer != 0 && why != Wake::kTimer) {
      runtime_->loop().Cancel(found->second.timer);
    }
    parked_.erase(found);
  }
  parent.reset();  // With no lock held.
  switch (why) {
    case Wake::kTimer:
      return call->OnTimer();
    case Wake::kEndpoints:
      return call->OnEndpointsChanged();
    case Wake::kCancelled:
      return call->OnCancelled();
  }
}

void Service::AddStream(LiveStream* call) {
  base::MutexLock lock(&streams_mu_);
  streams_.emplace(call, 0);
}

void Service::RemoveStream(LiveStream* call) {
  base::EventLoop::TimerId timer = 0;
  {
    base::MutexLock lock(&streams_mu_);
    const auto found = streams_.find(call);
    if (found == streams_.end()) return;
    timer = found->second;
    streams_.erase(found);
  }
  if (timer != 0) runtime_->loop().Cancel(timer);
}

void Service::WatchIdle(LiveStream* call, uint64_t id, absl::Time at) {
  base::MutexLock lock(&streams_mu_);
  const auto found = streams_.find(call);
  if (found == streams_.end()) return;
  found->second = runtime_->loop().RunAt(at, [self = self_, call, id] {
    auto service = self.lock();
    if (service == nullptr) return;
    grpc_call* idle = nullptr;
    absl::Time next = absl::InfiniteFuture();
    {
      base::MutexLock lock(&service->streams_mu_);
      if (service->streams_.count(call) > 0) {
        next = call->CheckIdle(id, base::Clock::Real().Now(), &idle);
      }
    }
    if (next != absl::InfiniteFuture()) service->WatchIdle(call, id, next);
    if (idle == nullptr) return;
    grpc_call_cancel_with_status(
        idle, GRPC_STATUS_DEADLINE_EXCEEDED,
        "no message came or went for as long as idle_timeout allows", nullptr);
    grpc_call_unref(idle);
  });
}

// --- Connectivity as the application sees it

grpc_connectivity_state Service::GetState(bool try_to_connect) {
  if (try_to_connect) {
    Start();
    runtime_->loop().Post([self = self_] {
      if (auto service = self.lock()) service->WantConnection();
    });
  }
  base::MutexLock lock(&state_mu_);
  return state_;
}

void Service::WatchState(grpc_connectivity_state last, absl::Time deadline,
                         std::function<void(bool)> done) {
  uint64_t id = 0;
  {
    base::MutexLock lock(&state_mu_);
    if (state_ == last) {
      id = next_watch_++;
      StateWatch& watch = state_watches_[id];
      watch.last = last;
      watch.done = std::move(done);
      if (deadline != absl::InfiniteFuture()) {
        watch.timer = runtime_->loop().RunAt(deadline, [self = self_, id] {
          auto service = self.lock();
          if (service == nullptr) return;
          std::function<void(bool)> late;
          {
            base::MutexLock lock(&service->state_mu_);
            const auto found = service->state_watches_.find(id);
            if (found == service->state_watches_.end()) return;
            late = std::move(found->second.done);
            service->state_watches_.erase(found);
          }
          late(false);
        });
      }
    }
  }
  if (id == 0) done(true);  // NOLINT(bugprone-use-after-move): not moved.
}

void Service::FireStateWatches() {
  std::vector<std::function<void(bool)>> fired;
  {
    base::MutexLock lock(&state_mu_);
    for (auto it = state_watches_.begin(); it != state_watches_.end();) {
      if (it->second.last == state_) {
        ++it;
        continue;
      }
      if (it->second.timer != 0) runtime_->loop().Cancel(it->second.timer);
      fired.push_back(std::move(it->second.done));
      it = state_watches_.erase(it);
    }
  }
  for (const auto& done : fired) done(true);
}

// --- Control plane

void Service::Configure(std::shared_ptr<const options::ServiceOptions> options,
                        std::shared_ptr<grpc::ChannelCredentials> credentials,
                        absl::Status unknown, uint64_t version) {
  if (!configured_.exchange(true, std::memory_order_relaxed)) {
    // Calls that begin before the control thread comes to it have their policy
    // all the same.
    auto first = std::make_shared<ServiceSnapshot>();
    first->policies = upstream::MethodPolicies(options);
    first->picker = options != nullptr ? upstream::NoEndpointsPicker(unknown)
                                       : upstream::UnknownPicker(unknown);
    snapshot_.Set(std::move(first));
  }
  runtime_->loop().Post([self = self_, options = std::move(options),
                         credentials = std::move(credentials),
                         unknown = std::move(unknown), version]() mutable {
    auto service = self.lock();
    if (service == nullptr || version < service->version_) return;
    service->version_ = version;
    service->ApplyConfig(std::move(options), std::move(credentials),
                         std::move(unknown));
  });
}

void Service::Start() {
  if (started_.load(std::memory_order_relaxed)) return;
  if (started_.exchange(true, std::memory_order_relaxed)) return;
  runtime_->loop().Post([self = self_] {
    auto service = self.lock();
    if (service == nullptr) return;
    service->running_ = true;
    service->StartDiscovery();
  });
}

void Service::ApplyConfig(
    std::shared_ptr<const options::ServiceOptions> options,
    std::shared_ptr<grpc::ChannelCredentials> credentials,
    absl::Status unknown) {
  const std::shared_ptr<const options::ServiceOptions> old = options_;
  options_ = std::move(options);
  upstream_.SetOptions(options_, std::move(unknown));
  if (options_ == nullptr) {
    StopDiscovery();
    resolved_ = false;
    std::vector<cluster::LiveEndpointPtr> gone;
    for (const cluster::Member& member : members_) gone.push_back(member.live);
    members_.clear();
    connect_order_.clear();
    membership_ = cluster::Membership();
    Publish();
    Retire(gone);
    return;
  }
  ConnectionSettings settings;
  settings.credentials = std::move(credentials);
  settings.authority = options_->authority;
  settings.channel_args = options_->channel_args;
  settings.options = options_->connections;
  settings.keepalive_time = options_->guards.black_hole.keepalive_time;
  settings.keepalive_timeout = options_->guards.black_hole.keepalive_timeout;
  settings.all_idempotent = options_->AllIdempotent();
  const bool reconnect = !(settings == settings_);
  settings_ = std::move(settings);
  const bool rediscover = old == nullptr || !(old->source == options_->source);
  if (reconnect && !members_.empty()) {
    // All endpoints anew; calls in flight end on the old connections.
    auto set = std::make_shared<cluster::EndpointSet>();
    std::vector<cluster::LiveEndpointPtr> gone;
    for (const cluster::Member& member : members_) {
      cluster::Endpoint endpoint = member.live->endpoint();
      endpoint.weight = member.weight;
      endpoint.priority = member.priority;
      set->endpoints.push_back(std::move(endpoint));
      gone.push_back(member.live);
    }
    membership_ = cluster::Membership();
    Accept(set);
    Retire(gone);
  }
  if (rediscover) StartDiscovery();
  Publish();
}

void Service::StopDiscovery() {
  resolver_.reset();
  resolution_error_ = absl::OkStatus();
  filter_ = discovery::UpdateFilter();
  if (filter_timer_ != 0) runtime_->loop().Cancel(filter_timer_);
  filter_timer_ = 0;
}

void Service::StartDiscovery() {
  StopDiscovery();
  if (!running_ || options_ == nullptr) return;
  resolver_ = discovery::MakeResolver(options_->source, &runtime_->loop());
  resolver_->Start([this](absl::StatusOr<cluster::EndpointSetPtr> update) {
    OnResolved(std::move(update));
  });
}

void Service::OnResolved(absl::StatusOr<cluster::EndpointSetPtr> update) {
  {
    base::MutexLock lock(&discovery_mu_);
    if (update.ok()) {
      ++discovery_updates_;
      discovery_error_.clear();
    } else {
      ++discovery_failures_;
      discovery_error_ = std::string(update.status().message());
    }
  }
  if (!update.ok()) {
    runtime_->Log(
        LogSeverity::kWarning,
        absl::StrCat(name_, ": ", update.status().message(),
                     resolved_ ? " (the last endpoints are kept)" : ""));
    resolution_error_ = update.status();
    if (!resolved_) Publish();
  } else {
    resolution_error_ = absl::OkStatus();
  }
  Apply(filter_.OnUpdate(update, base::Clock::Real().Now()));
}

void Service::Apply(const discovery::UpdateFilter::Decision& decision) {
  if (filter_timer_ != 0) runtime_->loop().Cancel(filter_timer_);
  filter_timer_ = 0;
  if (decision.apply != nullptr) Accept(decision.apply);
  if (decision.look_again == absl::InfiniteFuture()) return;
  if (filter_.doubting()) {
    {
      base::MutexLock lock(&discovery_mu_);
      ++discovery_doubted_;
    }
    runtime_->Log(LogSeverity::kWarning,
                  absl::StrCat(name_,
                               ": discovery suddenly reports no endpoints; the "
                               "last ones are kept for now"));
  }
  filter_timer_ = runtime_->loop().RunAt(decision.look_again, [self = self_] {
    auto service = self.lock();
    if (service == nullptr) return;
    service->filter_timer_ = 0;
    service->Apply(service->filter_.OnTime(base::Clock::Real().Now()));
  });
}

void Service::Accept(const cluster::EndpointSetPtr& set) {
  resolved_ = true;
  const cluster::Membership::Change change =
      membership_.Update(*set, [this](const cluster::Endpoint& endpoint) {
        return std::make_shared<ConnectedEndpoint>(endpoint, settings_);
      });
  members_ = membership_.members();
  if (change.changed) {
    connect_order_.clear();
    for (const cluster::Member& member : members_) {
      connect_order_.push_back(
          static_cast<ConnectedEndpoint*>(member.live.get()));
    }
    // In an order of this process's own, so that not all connect to the same.
    base::Random& random = base::ThreadRandom();
    std::shuffle(connect_order_.begin(), connect_order_.end(), random);
    EnsureConnections();
    runtime_->Log(LogSeverity::kInfo,
                  absl::StrCat(name_, ": ", members_.size(), " endpoints (",
                               change.added.size(), " added, ",
                               change.removed.size(), " removed)"));
  }
  Publish();
  Retire(change.removed);
}

void Service::Retire(const std::vector<cluster::LiveEndpointPtr>& endpoints) {
  if (endpoints.empty()) return;
  const absl::Time now = base::Clock::Real().Now();
  for (const cluster::LiveEndpointPtr& endpoint : endpoints) {
    endpoint->Close();
    prober_.Cancel(Connected(endpoint).get());
    retired_.push_back(
        {Connected(endpoint), now + settings_.options.drain_timeout});
  }
  SweepRetired();
}

void Service::SweepRetired() {
  const absl::Time now = base::Clock::Real().Now();
  for (size_t i = 0; i < retired_.size();) {
    ConnectedEndpoint* const endpoint = retired_[i].endpoint.get();
    if (endpoint->Drained()) {
      endpoint->Disconnect();
      retired_[i] = std::move(retired_.back());
      retired_.pop_back();
      continue;
    }
    if (now >= retired_[i].cut_off_at) CutOff(endpoint);
    ++i;
  }
  if (sweep_timer_ != 0) runtime_->loop().Cancel(sweep_timer_);
  sweep_timer_ = 0;
  if (retired_.empty()) return;
  sweep_timer_ = runtime_->loop().RunAt(now + kSweepEvery, [self = self_] {
    if (auto service = self.lock()) {
      service->sweep_timer_ = 0;
      service->SweepRetired();
    }
  });
}

void Service::CutOff(const ConnectedEndpoint* endpoint) {
  std::vector<grpc_call*> cut_off;
  {
    base::MutexLock lock(&streams_mu_);
    for (const auto& [call, timer] : streams_) {
      grpc_call* const core = call->RefIfOn(endpoint);
      if (core != nullptr) cut_off.push_back(core);
    }
  }
  // What gRPC does now may end with RemoveStream().
  for (grpc_call* core : cut_off) {
    grpc_call_cancel_with_status(
        core, GRPC_STATUS_UNAVAILABLE,
        "the endpoint was removed and its drain timeout is over", nullptr);
    grpc_call_unref(core);
  }
}

void Service::EnsureConnections() {
  if (!running_ || options_ == nullptr) return;
  const int target = std::max(options_->connections.ahead, wanted_ ? 1 : 0);
  int usable = 0;
  for (ConnectedEndpoint* endpoint : connect_order_) {
    const Readiness readiness = endpoint->readiness();
    if (readiness == Readiness::kReady || readiness == Readiness::kConnecting) {
      ++usable;
    }
  }
  for (ConnectedEndpoint* endpoint : connect_order_) {
    if (usable >= target) break;
    if (endpoint->readiness() != Readiness::kIdle) continue;
    Connect(endpoint->shared_from_this());
    ++usable;
  }
}

void Service::WantConnection() {
  // Once it is known, each change of connectivity sees to it.
  if (!std::exchange(wanted_, true)) EnsureConnections();
}

void Service::Connect(const std::shared_ptr<ConnectedEndpoint>& endpoint) {
  const bool first = endpoint->main_channel() == nullptr;
  if (first) endpoint->Open();
  endpoint->BeginConnecting(base::Clock::Real().Now());
  endpoint->main_channel()->GetState(/*try_to_connect=*/true);
  endpoint->set_readiness(Readiness::kConnecting);
  PublishSoon();
  runtime_->PollWhileConnecting();
  if (first) WatchConnection(endpoint, GRPC_CHANNEL_IDLE);
}

void Service::WatchConnection(
    const std::shared_ptr<ConnectedEndpoint>& endpoint,
    grpc_connectivity_state last) {
  runtime_->watcher().Watch(
      endpoint->main_channel(), last,
      [self = self_, weak = std::weak_ptr<ConnectedEndpoint>(endpoint)] {
        auto service = self.lock();
        if (service == nullptr) return;
        service->runtime_->loop().Post([self, weak] {
          auto service = self.lock();
          auto endpoint = weak.lock();
          if (service == nullptr || endpoint == nullptr) return;
          service->OnConnectivity(endpoint);
        });
      });
}

void Service::OnConnectivity(
    const std::shared_ptr<ConnectedEndpoint>& endpoint) {
  if (endpoint->main_channel() == nullptr) return;  // Disconnected.
  const grpc_connectivity_state state =
      endpoint->main_channel()->GetState(/*try_to_connect=*/false);
  const bool was_ready = endpoint->readiness() == Readiness::kReady;
  endpoint->set_readiness(ToReadiness(state));
  WatchConnection(endpoint, state);
  if (endpoint->closed()) return;
  if (state == GRPC_CHANNEL_READY && !was_ready) {
    upstream_.health().OnConnected(endpoint.get(), base::Clock::Real().Now());
  }
  if (state == GRPC_CHANNEL_CONNECTING) runtime_->PollWhileConnecting();
  if (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_TRANSIENT_FAILURE) {
    if (resolver_ != nullptr) resolver_->Refresh();
    lost_ = true;
  }
  if (state == GRPC_CHANNEL_IDLE &&
      endpoint->LostAtOnce(base::Clock::Real().Now())) {
    ConnectLater(endpoint);
  }
  PublishSoon();
}

void Service::ConnectLater(const std::shared_ptr<ConnectedEndpoint>& endpoint) {
  // Not idle, which would be connected at once; nor failed: a call that has no
  // other endpoint waits for it.
  endpoint->set_readiness(Readiness::kConnecting);
  const absl::Duration wait = settings_.options.initial_backoff *
                              (0.8 + 0.4 * base::ThreadRandom().Unit());
  runtime_->loop().RunAt(
      base::Clock::Real().Now() + wait,
      [self = self_, weak = std::weak_ptr<ConnectedEndpoint>(endpoint)] {
        auto service = self.lock();
        auto endpoint = weak.lock();
        if (service == nullptr || endpoint == nullptr) return;
        if (endpoint->main_channel() == nullptr || endpoint->closed()) return;
        if (endpoint->main_channel()->GetState(/*try_to_connect=*/false) !=
            GRPC_CHANNEL_IDLE) {
          return;
        }
        endpoint->set_readiness(Readiness::kIdle);
        service->EnsureConnections();
        service->PublishSoon();
      });
}

void Service::PublishSoon() {
  if (dirty_) return;
  dirty_ = true;
  runtime_->loop().Post([self = self_] {
    auto service = self.lock();
    if (service == nullptr) return;
    // Once for all connections that were lost meanwhile.
    if (std::exchange(service->lost_, false)) service->EnsureConnections();
    if (service->dirty_) service->Publish();
  });
}

void Service::Publish() {
  dirty_ = false;
  auto next = std::make_shared<ServiceSnapshot>();
  next->picker = upstream_.MakePicker({resolved_, resolution_error_, &members_},
                                      base::Clock::Real().Now());
  std::vector<const upstream::Method*> methods;
  {
    base::MutexLock lock(&methods_mu_);
    methods = methods_by_index_;
  }
  next->policies = upstream::MethodPolicies(options_, methods);
  next->endpoints.reserve(members_.size());
  for (const cluster::Member& member : members_) {
    next->endpoints.push_back(member.live);
  }
  next->state = upstream_.unknown() ? GRPC_CHANNEL_TRANSIENT_FAILURE
                                    : Aggregate(members_, resolved_);
  const grpc_connectivity_state state = next->state;
  snapshot_.Set(std::move(next));
  {
    base::MutexLock lock(&state_mu_);
    state_ = state;
  }
  FireStateWatches();

  std::vector<uint64_t> waiting;
  {
    base::MutexLock lock(&parked_mu_);
    for (const auto& [id, parked] : parked_) {
      if (parked.until_endpoints_change) waiting.push_back(id);
    }
  }
  for (uint64_t id : waiting) Wakeup(id, Wake::kEndpoints);
}

telemetry::ServiceSnapshot Service::Metrics() {
  const ServiceSnapshotPtr snapshot = snapshot_.Get();
  telemetry::ServiceSnapshot result = metrics_->Snapshot(
      snapshot->endpoints, runtime_->telemetry().max_endpoints);
  upstream_.Describe(base::Clock::Real().Now(), &result);
  base::MutexLock lock(&discovery_mu_);
  result.discovery_updates = discovery_updates_;
  result.discovery_failures = discovery_failures_;
  result.discovery_doubted = discovery_doubted_;
  result.discovery_error = discovery_error_;
  return result;
}

}  // namespace mesh::service
