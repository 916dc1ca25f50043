#include "mesh/service/connection.h"

#include <string>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/grpc/access.h"

namespace mesh::service {
namespace {

std::string Target(const std::string& address) {
  if (absl::StartsWith(address, "unix")) return address;
  if (absl::StartsWith(address, "[")) return absl::StrCat("ipv6:", address);
  return absl::StrCat("ipv4:", address);
}

// A connection that lives longer is one, whatever becomes of it.
constexpr absl::Duration kAtOnce = absl::Milliseconds(100);

// Attempts that went well.
uint64_t Succeeded(const cluster::LiveEndpoint& endpoint) {
  return endpoint.counters().ended[0].load(std::memory_order_relaxed);
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

ConnectedEndpoint::ConnectedEndpoint(const cluster::Endpoint& endpoint,
                                     const ConnectionSettings& settings)
    : LiveEndpoint(endpoint),
      settings_(settings),
      main_is_exact_(!settings.all_idempotent) {}

void ConnectedEndpoint::Open() {
  main_ = Make(main_is_exact_);
  main_core_ = core::Access::CoreChannel(main_.get());
}

std::shared_ptr<grpc::Channel> ConnectedEndpoint::Make(bool exact) const {
  grpc::ChannelArguments args;
  for (const auto& [name, value] : settings_.channel_args) {
    if (const int* number = std::get_if<int>(&value)) {
      args.SetInt(name, *number);
    } else {
      args.SetString(name, std::get<std::string>(value));
    }
  }
  const std::string& authority =
      endpoint().authority.empty() ? settings_.authority : endpoint().authority;
  args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, exact ? 1 : 0);
  const options::ConnectionOptions& options = settings_.options;
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
              Milliseconds(options.initial_backoff));
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
              Milliseconds(options.max_backoff));
  // gRPC's name for the time that an attempt to connect may take.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
              Milliseconds(options.connect_timeout));
  if (settings_.keepalive_time != absl::InfiniteDuration()) {
    // gRPC doubles the time for an address whose server says that there are
    // too many pings (GOAWAY "too_many_pings"); channel_test.cc pins it.
    args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                Milliseconds(settings_.keepalive_time));
    args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                Milliseconds(settings_.keepalive_timeout));
    // Otherwise it sends two while no data are sent, and no more.
    args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  return grpc::CreateCustomChannel(Target(endpoint().address),
                                   settings_.credentials, args);
}

grpc_channel* ConnectedEndpoint::CoreChannel(bool exact) {
  if (!exact || main_is_exact_) return main_core_;
  if (grpc_channel* core = exact_core_.load(std::memory_order_acquire)) {
    return core;
  }
  base::MutexLock lock(&mu_);
  if (exact_ == nullptr) {
    exact_ = Make(/*exact=*/true);
    exact_core_.store(core::Access::CoreChannel(exact_.get()),
                      std::memory_order_release);
  }
  return core::Access::CoreChannel(exact_.get());
}

void ConnectedEndpoint::BeginConnecting(absl::Time now) {
  begun_ = now;
  succeeded_before_ = Succeeded(*this);
}

bool ConnectedEndpoint::LostAtOnce(absl::Time now) const {
  return now - begun_ < kAtOnce && Succeeded(*this) == succeeded_before_;
}

void ConnectedEndpoint::Disconnect() {
  main_.reset();
  base::MutexLock lock(&mu_);
  exact_.reset();
}

void ConnectivityWatcher::Watch(grpc::Channel* channel,
                                grpc_connectivity_state last,
                                std::function<void()> changed) {
  grpc_channel_watch_connectivity_state(
      core::Access::CoreChannel(channel), last,
      gpr_inf_future(GPR_CLOCK_REALTIME), queue_.queue(),
      core::CoreQueue::Tag(std::move(changed),
                           /*inlined=*/true));
}

}  // namespace mesh::service
