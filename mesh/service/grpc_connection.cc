#include "mesh/service/grpc_connection.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mesh/base/mutex.h"
#include "mesh/grpc/access.h"
#include "mesh/grpc/raw_call.h"
#include "mesh/grpc/socket_watch.h"

namespace mesh::service {
namespace {

// Whether it is the target of a proxy.
bool IsName(absl::string_view address) {
  return absl::StartsWith(address, "dns:");
}

bool IsIpv4(absl::string_view address) {
  return !address.empty() && absl::ascii_isdigit(address[0]);
}

std::string Target(const std::string& address) {
  if (absl::StartsWith(address, "unix") || IsName(address)) return address;
  if (absl::StartsWith(address, "[")) return absl::StrCat("ipv6:", address);
  return absl::StrCat("ipv4:", address);
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

class GrpcConnection final : public Connection {
 public:
  GrpcConnection(const cluster::Endpoint& endpoint,
                 std::shared_ptr<const ConnectionSettings> settings,
                 uint64_t number, Secrets::Expires expires,
                 core::CoreQueue* watches)
      : Connection(number),
        endpoint_(endpoint),
        settings_(std::move(settings)),
        credentials_(settings_->secrets->make(std::move(expires))),
        watches_(watches),
        main_is_exact_(!settings_->all_idempotent),
        main_(Make(main_is_exact_, socket_.get())) {}

  grpc_channel* Core(bool exact) override {
    if (!exact || main_is_exact_) {
      return core::Access::CoreChannel(main_.get());
    }
    if (grpc_channel* core = exact_core_.load(std::memory_order_acquire)) {
      return core;
    }
    base::MutexLock lock(&mu_);
    if (exact_ == nullptr) {
      exact_ = Make(/*exact=*/true, exact_socket_.get());
      exact_core_.store(core::Access::CoreChannel(exact_.get()),
                        std::memory_order_release);
    }
    return core::Access::CoreChannel(exact_.get());
  }

  grpc_connectivity_state GetState(bool connect) override {
    return main_->GetState(connect);
  }

  void ResetBackoff() override {
    grpc_channel_reset_connect_backoff(core::Access::CoreChannel(main_.get()));
  }

  void AskWhy(std::function<void(absl::Status)> done) override {
    // gRPC tells it to a call, and to nobody else. No server sees that call.
    const grpc_slice path = grpc_slice_from_static_string("/mesh/why");
    auto call = std::make_shared<core::RawCall>(grpc_channel_create_call(
        core::Access::CoreChannel(main_.get()), nullptr,
        GRPC_PROPAGATE_DEFAULTS, watches_->queue(), path, nullptr,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_seconds(1, GPR_TIMESPAN)),
        nullptr));
    core::RawCall::Start(
        call, {}, /*metadata_flags=*/0, grpc::ByteBuffer(),
        [call = call.get(), done = std::move(done)] {
          const grpc::Status& status = call->answer().status;
          done(absl::Status(
              status.ok() ? absl::StatusCode::kUnavailable
                          : static_cast<absl::StatusCode>(status.error_code()),
              status.error_message()));
        });
  }

  std::optional<uint64_t> BytesReceived() override {
    return socket_->BytesReceived();
  }

  bool Break() override {
    const bool broken = socket_->Break();
    return exact_socket_->Break() || broken;
  }

  bool MayClose() override {
    const grpc_connectivity_state state = main_->GetState(/*connect=*/false);
    if (state == GRPC_CHANNEL_CONNECTING ||
        (lingers() && state == GRPC_CHANNEL_TRANSIENT_FAILURE)) {
      return false;
    }
    base::MutexLock lock(&mu_);
    return exact_ == nullptr ||
           exact_->GetState(/*connect=*/false) != GRPC_CHANNEL_CONNECTING;
  }

  void Watch(grpc_connectivity_state last,
             std::function<void()> changed) override {
    grpc_channel_watch_connectivity_state(
        core::Access::CoreChannel(main_.get()), last,
        gpr_inf_future(GPR_CLOCK_REALTIME), watches_->queue(),
        core::CoreQueue::Tag(std::move(changed), /*inlined=*/true));
  }

 private:
  std::shared_ptr<grpc::Channel> Make(bool exact,
                                      core::SocketWatch* socket) const {
    grpc::ChannelArguments args =
        ArgumentsOf(endpoint_, *settings_, number(), exact);
    socket->AddTo(&args);
    return grpc::CreateCustomChannel(Target(endpoint_.address), credentials_,
                                     args);
  }

  // Constant.
  const cluster::Endpoint& endpoint_;
  const std::shared_ptr<const ConnectionSettings> settings_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  core::CoreQueue* const watches_;
  const bool main_is_exact_;
  // Each channel has a socket of its own.
  const std::shared_ptr<core::SocketWatch> socket_ =
      std::make_shared<core::SocketWatch>();
  const std::shared_ptr<core::SocketWatch> exact_socket_ =
      std::make_shared<core::SocketWatch>();
  // Its state is the connection's.
  const std::shared_ptr<grpc::Channel> main_;

  std::atomic<grpc_channel*> exact_core_{nullptr};
  base::Mutex mu_;
  std::shared_ptr<grpc::Channel> exact_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

grpc::ChannelArguments ArgumentsOf(const cluster::Endpoint& endpoint,
                                   const ConnectionSettings& settings,
                                   uint64_t number, bool exact) {
  grpc::ChannelArguments args;
  for (const auto& [name, value] : settings.channel_args) {
    if (name == GRPC_ARG_PRIMARY_USER_AGENT_STRING &&
        std::holds_alternative<std::string>(value)) {
      // gRPC's C++ library has set it already, to its own name.
      args.SetUserAgentPrefix(std::get<std::string>(value));
    } else if (const int* number = std::get_if<int>(&value)) {
      args.SetInt(name, *number);
    } else {
      args.SetString(name, std::get<std::string>(value));
    }
  }
  // What gRPC would do anyway is not set: each argument costs 350 bytes of each
  // channel.
  const std::string& authority =
      endpoint.authority().empty() ? settings.authority : endpoint.authority();
  if (authority != endpoint.address || !IsIpv4(authority)) {
    args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, authority);
  }
  // gRPC would compare no_proxy with the address.
  if (settings.resolved && !IsName(endpoint.address)) {
    args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  }
  if (!exact || settings.channel_args.count(GRPC_ARG_ENABLE_RETRIES) > 0) {
    args.SetInt(GRPC_ARG_ENABLE_RETRIES, exact ? 1 : 0);
  }
  const options::ConnectionOptions& options = settings.options;
  // The backoff is mesh's, which gives up the channel of a failed dial. gRPC is
  // not to dial again before that. Only gRPC uses a second channel.
  const bool second = exact == settings.all_idempotent;
  args.SetInt(
      GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
      Milliseconds(second ? options.initial_backoff : options.connect_timeout));
  if (second) {
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                Milliseconds(options.max_backoff));
  }
  // gRPC's name for the time that an attempt to connect may take.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
              Milliseconds(options.connect_timeout));
  if (options.keepalive_time != absl::InfiniteDuration()) {
    // gRPC doubles the time for an address whose server says that there are
    // too many pings (GOAWAY "too_many_pings"); channel_test.cc pins it.
    args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                Milliseconds(options.keepalive_time));
    args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                Milliseconds(options.keepalive_timeout));
    // Otherwise it sends two while no data are sent, and no more.
    args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  if (number != 0) {
    args.SetInt(kNumberArgument,
                static_cast<int>(number % std::numeric_limits<int>::max()));
  }
  return args;
}

std::unique_ptr<Connection> MakeGrpcConnection(
    const cluster::Endpoint& endpoint,
    std::shared_ptr<const ConnectionSettings> settings, uint64_t number,
    Secrets::Expires expires, core::CoreQueue* watches) {
  return std::make_unique<GrpcConnection>(endpoint, std::move(settings), number,
                                          std::move(expires), watches);
}

}  // namespace mesh::service
