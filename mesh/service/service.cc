#include "mesh/service/service.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "mesh/grpc/parent_watch.h"
#include "mesh/service/proxy.h"
#include "mesh/upstream/placeholder.h"

namespace mesh::service {
namespace {

std::shared_ptr<telemetry::Observer> WithApplications(
    std::shared_ptr<telemetry::Observer> metrics,
    std::vector<std::shared_ptr<telemetry::Observer>> observers) {
  if (observers.empty()) return metrics;
  observers.insert(observers.begin(), std::move(metrics));
  return std::make_shared<telemetry::FanOut>(std::move(observers));
}

LogSink LogOf(Runtime* runtime) {
  return [runtime](LogSeverity severity, absl::string_view line) {
    runtime->Log(severity, line);
  };
}

// Cancelled with its parent, as gRPC cancels what runs on a grpc_call.
ParkingLot::WatchParent ParentsOf(Runtime* runtime) {
  return [runtime](grpc_call* parent, std::function<void()> cancelled) {
    return std::make_shared<core::ParentWatch>(
        runtime->in_process().NewSilentCall(parent), std::move(cancelled));
  };
}

// Where the endpoints of a service come from. gRPC decides by the name whether
// a proxy is asked, and then hands it the name: the proxy knows where that is,
// and this process need not. So where it would, the name is the only endpoint.
options::EndpointSource SourceOf(const options::TargetOptions& target,
                                 const options::ServiceOptions& options) {
  const auto* const dns = std::get_if<options::DnsOptions>(&target.source);
  if (dns == nullptr || !GoesThroughProxy(dns->name, options.channel_args,
                                          ProcessEnvironment())) {
    return target.source;
  }
  auto set = std::make_shared<cluster::EndpointSet>();
  set->endpoints.emplace_back();
  set->endpoints.back().address =
      absl::StrCat("dns:///", dns->name, ":", dns->port);
  return cluster::EndpointSetPtr(std::move(set));
}

bool IsSameName(const options::EndpointSource& a,
                const options::EndpointSource& b) {
  const auto* const first = std::get_if<options::DnsOptions>(&a);
  const auto* const second = std::get_if<options::DnsOptions>(&b);
  return first != nullptr && second != nullptr && first->name == second->name &&
         first->port == second->port;
}

ConnectionSettings SettingsOf(const options::TargetOptions& target,
                              const options::ServiceOptions& options,
                              SecretsPtr secrets) {
  ConnectionSettings settings;
  settings.secrets = std::move(secrets);
  settings.authority = target.authority;
  settings.channel_args = options.channel_args;
  settings.options = options.connections;
  settings.all_idempotent = options.AllIdempotent();
  // Where nothing names a proxy nobody has to know. No exemption is for "".
  settings.resolved =
      std::holds_alternative<options::DnsOptions>(target.source) &&
      GoesThroughProxy("", options.channel_args, ProcessEnvironment());
  return settings;
}

}  // namespace

std::shared_ptr<Service> Service::Create(
    std::shared_ptr<Runtime> runtime, std::string name,
    std::shared_ptr<const options::ServiceOptions> options) {
  // What a service holds belongs to the control thread, so it is destroyed
  // there, wherever the last reference is dropped. The runtime is kept until
  // then.
  std::shared_ptr<Service> service(
      new Service(std::move(runtime), std::move(name), std::move(options)),
      [](Service* gone) {
        std::shared_ptr<Runtime> runtime = gone->runtime_;
        base::Scheduler& loop = runtime->loop();
        loop.Post([gone, runtime = std::move(runtime)]() mutable {
          delete gone;
          runtime.reset();
        });
      });
  service->control_->Bind(service);
  return service;
}

Service::Service(std::shared_ptr<Runtime> runtime, std::string name,
                 std::shared_ptr<const options::ServiceOptions> options)
    : runtime_(std::move(runtime)),
      name_(std::move(name)),
      control_(std::make_shared<base::OwnedScheduler>(&runtime_->loop())),
      clock_(runtime_->clock()),
      prober_(&runtime_->queue()),
      metrics_(std::make_shared<telemetry::ServiceMetrics>(
          name_, runtime_->telemetry().max_methods)),
      observer_(
          WithApplications(metrics_, runtime_->application().observers())),
      other_methods_(metrics_->Method("", /*registered=*/false)),
      fallback_(runtime_->application().FallbackOf(name_)),
      upstream_(UpstreamSettings(options)),
      methods_(metrics_.get()),
      parking_(control_, ParentsOf(runtime_.get())),
      connectivity_(control_),
      connections_(ConnectionSeams(), this),
      feed_(name_, FeedSeams(), this) {
  auto first = std::make_shared<ServiceView>();
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
  settings.now = clock_.Now();
  return settings;
}

discovery::Feed::Seams Service::FeedSeams() {
  discovery::Feed::Seams seams;
  seams.control = control_;
  seams.clock = &clock_;
  seams.make_resolver = [this](const options::EndpointSource& source) {
    return runtime_->MakeResolver(source);
  };
  seams.log = LogOf(runtime_.get());
  return seams;
}

Connections::Seams Service::ConnectionSeams() {
  Connections::Seams seams;
  seams.control = control_;
  seams.clock = &clock_;
  seams.wall = runtime_->wall();
  seams.gate = runtime_->gate();
  return seams;
}

// --- Data plane

Method* Service::RegisterMethod(absl::string_view name) {
  const auto [method, added] = methods_.Register(name);
  if (added) control_->Post([this] { PublishSoon(); });
  return method;
}

uint64_t Service::Park(Waiter* call, const ServiceView* seen, bool asks,
                       absl::Time at, grpc_call* parent) {
  using Until = ParkingLot::Until;
  const Until until = seen == nullptr ? Until::kTime
                      : asks          ? Until::kAsking
                                      : Until::kEndpoints;
  const uint64_t id = parking_.Park(call, until, at, parent);
  if (seen != nullptr) {
    // A snapshot that was published before the call was in the lot has not
    // woken it. Publish() sets the snapshot first and then looks into the lot.
    const bool missed = snapshot_.Get().get() != seen;
    control_->Post([this, id, asks, missed] {
      if (asks) {
        parking_.Heard(id);
        connections_.Ask();
      } else {
        connections_.Want();
      }
      AskAgainIfEmpty();
      if (missed) PublishSoon();
    });
  }
  return id;
}

void Service::OnNoEndpoint() {
  const int64_t now = absl::ToUnixNanos(clock_.Now());
  int64_t next = ask_again_at_.load(std::memory_order_relaxed);
  if (now < next || !ask_again_at_.compare_exchange_strong(
                        next, now + absl::ToInt64Nanoseconds(absl::Seconds(1)),
                        std::memory_order_relaxed)) {
    return;
  }
  control_->Post([this] { AskAgainIfEmpty(); });
}

grpc_connectivity_state Service::GetState(bool try_to_connect) {
  if (try_to_connect) {
    Start();
    control_->Post([this] { connections_.Want(); });
  }
  return connectivity_.state();
}

telemetry::ServiceSnapshot Service::Metrics() {
  const ServiceViewPtr snapshot = snapshot_.Get();
  telemetry::ServiceSnapshot result = metrics_->Snapshot(
      snapshot->endpoints, runtime_->telemetry().max_endpoints);
  upstream_.Describe(clock_.Now(), &result);
  const discovery::Feed::Stats stats = feed_.stats();
  result.discovery_updates = stats.updates;
  result.discovery_failures = stats.failures;
  result.discovery_doubted = stats.doubted;
  result.discovery_error = stats.error;
  result.connections_by_generation = connections_.counts().ByGeneration();
  result.generations_open = connections_.counts().MostGenerations();
  return result;
}

// --- Health

void Service::SendProbe(cluster::LiveEndpoint* endpoint) {
  const std::string method = upstream_.BeginProbe(endpoint, clock_.Now());
  prober_.Probe(ConnectedEndpoint::Of(endpoint)->shared_from_this(), method,
                [self = weak_from_this(), endpoint](bool answered) {
                  const auto service = self.lock();
                  if (service == nullptr) return endpoint->Release();
                  service->upstream_.EndProbe(endpoint, answered,
                                              service->clock_.Now());
                });
}

void Service::OnHealthChange(const resilience::HealthChange& change) {
  health_log_.Get(name_, control_, &clock_, LogOf(runtime_.get())).Note(change);
  using cluster::Health;
  const bool silence =
      change.to == Health::kSuspect || change.from == Health::kSuspect;
  const bool use = cluster::IsOut(change.to) != cluster::IsOut(change.from);
  if (!silence && !use) return;
  // Other connections may be wanted. All changes until then are one.
  if (plan_posted_.exchange(true, std::memory_order_acq_rel)) return;
  control_->Post([this] {
    plan_posted_.store(false, std::memory_order_release);
    connections_.OnHealthChange();
  });
}

// --- Control plane

void Service::Configure(std::shared_ptr<const options::ServiceOptions> options,
                        SecretsPtr secrets, absl::Status unknown,
                        uint64_t version,
                        std::shared_ptr<const options::TargetOptions> target) {
  if (!configured_.exchange(true, std::memory_order_relaxed)) {
    // Calls that begin before the control thread comes to it have their policy
    // all the same.
    auto first = std::make_shared<ServiceView>();
    first->policies = upstream::MethodPolicies(options);
    first->picker = options == nullptr ? upstream::UnknownPicker(unknown)
                    : secrets->make == nullptr
                        ? upstream::UnknownPicker(secrets->missing)
                        : upstream::NoEndpointsPicker(unknown);
    snapshot_.Set(std::move(first));
  }
  if (target == nullptr) target = options;
  control_->Post([this, options = std::move(options),
                  target = std::move(target), secrets = std::move(secrets),
                  unknown = std::move(unknown), version] {
    if (version < version_) return;
    version_ = version;
    ApplyConfig(options, target, secrets, unknown);
  });
}

void Service::SetSecrets(SecretsPtr secrets) {
  control_->Post([this, secrets = std::move(secrets)]() mutable {
    // One that is unknown learns of its secrets with its configuration.
    if (options_ == nullptr) return;
    const bool had = connections_.settings().secrets->make != nullptr;
    UseSecrets(std::move(secrets));
    if (!had) Publish();
  });
}

void Service::Start() {
  if (started_.load(std::memory_order_relaxed)) return;
  if (started_.exchange(true, std::memory_order_relaxed)) return;
  control_->Post([this] {
    running_ = true;
    if (options_ != nullptr) feed_.Start(SourceOf(*target_, *options_));
  });
}

void Service::ApplyConfig(
    std::shared_ptr<const options::ServiceOptions> options,
    std::shared_ptr<const options::TargetOptions> target, SecretsPtr secrets,
    absl::Status unknown) {
  const std::shared_ptr<const options::TargetOptions> old =
      std::exchange(target_, std::move(target));
  options_ = std::move(options);
  upstream_.SetOptions(options_, std::move(unknown));
  if (options_ == nullptr) {
    feed_.Stop();
    EndLingering();
    const auto gone = connections_.Forget();
    Publish();
    return connections_.Retire(gone);
  }
  UseSecrets(std::move(secrets));
  const bool rediscover = old == nullptr || !(old->source == target_->source);
  if (rediscover && running_) {
    EndLingering();
    named_ &= old != nullptr && IsSameName(old->source, target_->source);
    feed_.Start(SourceOf(*target_, *options_));
  }
  Publish();
}

void Service::UseSecrets(SecretsPtr secrets) {
  const SecretsPtr& present = connections_.settings().secrets;
  if (secrets->generation < present->generation) secrets = present;
  const bool reconnect = connections_.Configure(
      SettingsOf(*target_, *options_, std::move(secrets)));
  // Calls in flight end on the old connections.
  if (reconnect && !connections_.members().empty()) connections_.Renew();
}

void Service::OnEndpoints(const cluster::EndpointSetPtr& set) {
  if (!set->endpoints.empty() || !named_) {
    named_ = target_ != nullptr &&
             std::holds_alternative<options::DnsOptions>(target_->source);
    EndLingering();
    return Use(*set);
  }
  const bool first = !lingering_.active();
  const cluster::EndpointSet stays =
      lingering_.Begin(connections_.members(), clock_.Now());
  if (first && !stays.endpoints.empty()) {
    runtime_->Log(LogSeverity::kWarning,
                  absl::StrCat(name_, ": the name has no addresses; ",
                               stays.endpoints.size(), " of ",
                               connections_.members().size(),
                               " endpoints are connected, and stay."));
  }
  Use(stays);
  WatchLingering();
}

// One that stays goes when it has been of no use for a while.
void Service::WatchLingering() {
  if (linger_timer_ != 0 || connections_.members().empty()) return;
  linger_timer_ = control_->RunAt(clock_.Now() + Lingering::Every(), [this] {
    linger_timer_ = 0;
    if (!lingering_.active()) return;
    const cluster::EndpointSet stays =
        lingering_.Look(connections_.members(), clock_.Now());
    if (stays.endpoints.size() < connections_.members().size()) Use(stays);
    WatchLingering();
  });
}

void Service::EndLingering() {
  lingering_.End();
  if (linger_timer_ != 0) control_->Cancel(linger_timer_);
  linger_timer_ = 0;
}

void Service::AskAgainIfEmpty() {
  const std::vector<cluster::Member>& members = connections_.members();
  // Those that a name without addresses has left may be gone.
  const bool useless =
      lingering_.active() &&
      std::none_of(
          members.begin(), members.end(), [](const cluster::Member& member) {
            return member.live->readiness() == cluster::Readiness::kReady;
          });
  if (members.empty() || useless) feed_.AskAgain();
}

void Service::Use(const cluster::EndpointSet& set) {
  const cluster::Membership::Change change = connections_.Update(set);
  if (change.changed) {
    runtime_->Log(
        LogSeverity::kInfo,
        absl::StrCat(name_, ": the number of endpoints is ",
                     connections_.members().size(), " (", change.added.size(),
                     " added, ", change.removed.size(), " removed)."));
  }
  Publish();
  connections_.Retire(change.removed);
}

std::unique_ptr<Connection> Service::MakeConnection(
    const cluster::Endpoint& endpoint,
    std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
    Secrets::Expires expires) {
  return runtime_->MakeConnection(endpoint, std::move(settings), number,
                                  std::move(expires));
}

void Service::CloseConnection(std::unique_ptr<Connection> connection) {
  runtime_->CloseConnection(std::move(connection));
}

void Service::EndOwnCalls(const ConnectedEndpoint* endpoint) {
  prober_.Cancel(endpoint);
}

void Service::CutOff(const ConnectedEndpoint* endpoint,
                     LiveStreams::Cause cause) {
  // Whoever has a stream on it has made this before.
  LiveStreams* const streams = streams_.Find();
  if (streams != nullptr) streams->CutOff(endpoint, cause);
}

void Service::OnConnected(cluster::LiveEndpoint* endpoint) {
  upstream_.health().OnConnected(endpoint, clock_.Now());
}

void Service::OnAskedInVain() {
  // They look at the picker again, which is to know of what has failed.
  if (std::exchange(in_vain_, true)) return;
  control_->Post([this] {
    in_vain_ = false;
    if (dirty_) Publish();
    parking_.WakeAsking();
  });
}

void Service::OnReplaced(cluster::LiveEndpoint* before,
                         cluster::LiveEndpoint* now) {
  now->mutable_counters().Add(before->counters());
  upstream_.health().Inherit(before, now);
}

void Service::PublishSoon() {
  if (dirty_) return;
  dirty_ = true;
  control_->Post([this] {
    connections_.Replan();
    if (dirty_) Publish();
  });
}

void Service::Publish() {
  dirty_ = false;
  const std::vector<cluster::Member>& members = connections_.members();
  auto next = std::make_shared<ServiceView>();
  next->state =
      upstream_.unknown()
          ? GRPC_CHANNEL_TRANSIENT_FAILURE
          : Aggregate(members, feed_.resolved() || !feed_.error().ok());
  const Secrets& secrets = *connections_.settings().secrets;
  if (options_ != nullptr && secrets.make == nullptr &&
      next->state != GRPC_CHANNEL_READY) {
    next->state = secrets.missing.ok() ? GRPC_CHANNEL_CONNECTING
                                       : GRPC_CHANNEL_TRANSIENT_FAILURE;
    next->picker = upstream::UnknownPicker(secrets.missing);
  } else {
    next->picker = upstream_.MakePicker(
        {feed_.resolved(), feed_.error(), &members}, clock_.Now());
  }
  next->policies = upstream::MethodPolicies(options_, methods_.ByIndex());
  next->endpoints.reserve(members.size());
  for (const cluster::Member& member : members) {
    next->endpoints.push_back(member.live);
  }
  const grpc_connectivity_state state = next->state;
  snapshot_.Set(std::move(next));
  connectivity_.Set(state);
  // While those are dialled that calls have asked for, news of others is none.
  parking_.WakeForEndpoints(/*also_asking=*/!connections_.asking() ||
                            members.empty());
  connections_.RetireReplaced();
}

}  // namespace mesh::service
