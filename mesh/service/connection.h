#ifndef MESH_SERVICE_CONNECTION_H_
#define MESH_SERVICE_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/options/endpoints.h"

namespace mesh::service {

// What the connections of one service are made with. A value; when it changes
// the service makes all its connections anew.
struct ConnectionSettings {
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // Never null.
  std::string authority;
  std::map<std::string, options::ChannelArgument> channel_args;
  options::ConnectionOptions options;
  absl::Duration keepalive_time = absl::InfiniteDuration();  // None.
  absl::Duration keepalive_timeout = absl::Seconds(20);
  // Every method may be executed twice, so mesh's own retries cover all that
  // gRPC's transparent retries do, and gRPC's are left out (docs/decisions).
  bool all_idempotent = false;

  bool operator==(const ConnectionSettings& o) const {
    return credentials == o.credentials && authority == o.authority &&
           channel_args == o.channel_args && options == o.options &&
           keepalive_time == o.keepalive_time &&
           keepalive_timeout == o.keepalive_timeout &&
           all_idempotent == o.all_idempotent;
  }
};

// An endpoint with its connection: a plain grpc::Channel to this one address.
// The control thread makes it and closes it; calls only read it, while they
// hold the endpoint acquired.
class ConnectedEndpoint final
    : public cluster::LiveEndpoint,
      public std::enable_shared_from_this<ConnectedEndpoint> {
 public:
  ConnectedEndpoint(const cluster::Endpoint& endpoint,
                    const ConnectionSettings& settings);

  // The core channel for a call. `exact`: gRPC's own transparent retries are
  // on, which know for certain whether a server can have seen the call. Other
  // channels do without them: they cost a tenth of a call. Where the service
  // has both kinds of calls the second kind of channel is made when it is
  // first needed.
  grpc_channel* CoreChannel(bool exact);

  // Of the main channel, whichever kind it is.
  grpc_channel* MainCoreChannel() const { return main_core_; }

  // Makes the main channel, idle. Control thread only, once, before a picker
  // that uses the endpoint is published.
  void Open();

  // The channel whose state is the endpoint's readiness. Null before Open()
  // and after Disconnect(). Control thread only.
  grpc::Channel* main_channel() const { return main_.get(); }

  // A connection is begun at `now`. Control thread only.
  void BeginConnecting(absl::Time now);
  // Whether the connection that is lost at `now` was none to speak of: begun
  // just before, and no call over it went well. Control thread only.
  bool LostAtOnce(absl::Time now) const;

  // Ends the connection. Control thread only, once Drained() or when its calls
  // are to be cut off.
  void Disconnect();

 private:
  std::shared_ptr<grpc::Channel> Make(bool exact) const;

  // Constant.
  const ConnectionSettings settings_;
  const bool main_is_exact_;

  // Control thread only: of the last connection's beginning.
  absl::Time begun_ = absl::InfinitePast();
  uint64_t succeeded_before_ = 0;

  // Written by Open(), and by Disconnect() when no call uses it any more.
  std::shared_ptr<grpc::Channel> main_;
  grpc_channel* main_core_ = nullptr;

  std::atomic<grpc_channel*> exact_core_{nullptr};
  base::Mutex mu_;
  std::shared_ptr<grpc::Channel> exact_ ABSL_GUARDED_BY(mu_);
};

// Tells of changes of connectivity, on gRPC's own threads as they notice them.
class ConnectivityWatcher {
 public:
  // Calls `changed` once when the state of `channel` is not `last` any more, on
  // a thread of gRPC's or the caller's; it must be quick and call no gRPC.
  // Closing the channel is such a change.
  void Watch(grpc::Channel* channel, grpc_connectivity_state last,
             std::function<void()> changed);

 private:
  core::CoreQueue queue_;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_H_
