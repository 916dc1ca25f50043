#ifndef MESH_SERVICE_CONNECTION_H_
#define MESH_SERVICE_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "mesh/service/connection_plan.h"

namespace mesh::service {

// One connection of an endpoint. Failures, latency and ejections belong to the
// endpoint, whichever of its connections they came over. What a connection has
// of its own is here. A ConnectedEndpoint keeps it. Control thread only, except
// Core().
class Connection {
 public:
  // `number`: counts the connections of an endpoint, from 0.
  explicit Connection(uint64_t number) : number_(number) {}
  virtual ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The channel that calls are made on. `exact`: one with gRPC's own
  // transparent retries, which know for certain whether a server can have seen
  // the call. Any thread, while the endpoint is acquired.
  virtual grpc_channel* Core(bool exact) = 0;
  // Begins to connect if it is idle and `connect` says so.
  virtual grpc_connectivity_state GetState(bool connect) = 0;
  // Dials at once if it waits for its backoff. It may be dialling already.
  virtual void ResetBackoff() = 0;
  // Calls `done` with the reason why the connection could not be made, while
  // that is its state. It may do so in here, or on a thread of gRPC. The
  // connection is kept until then.
  virtual void AskWhy(std::function<void(absl::Status why)> done) = 0;
  // Whether it may be closed. gRPC leaves the socket of a channel open for ever
  // if the channel goes while it connects.
  virtual bool MayClose() = 0;
  // What has come over it, in bytes. Empty: not known.
  virtual std::optional<uint64_t> BytesReceived() = 0;
  // Ends it under the calls that run on it. False: that is not possible.
  virtual bool Break() = 0;
  // Calls `changed` once when the state is no longer `last`, on a thread of
  // gRPC or the caller's. `changed` must be quick and call no gRPC. The end of
  // the connection is such a change.
  virtual void Watch(grpc_connectivity_state last,
                     std::function<void()> changed) = 0;

  uint64_t number() const { return number_; }

  // The generation of the secrets that it was made with.
  uint64_t generation() const { return generation_; }
  // Once, when it has been made. `counted` is kept as long as it is.
  void SetGeneration(uint64_t generation, std::shared_ptr<void> counted) {
    generation_ = generation;
    counted_ = std::move(counted);
  }
  const ConnectionTerm& term() const { return term_; }
  void set_term(const ConnectionTerm& term) { term_ = term; }

  // It could not be made in time, and gRPC goes on with it unseen.
  bool lingers() const { return lingers_; }
  void set_lingers(bool lingers) { lingers_ = lingers; }

  // It begins to connect at `now`, when so many attempts had gone well.
  void Begin(absl::Time now, uint64_t succeeded) {
    begun_ = now;
    succeeded_before_ = succeeded;
  }
  // Whether the connection, lost at `now`, was hardly one: it began just
  // before, and no call over it went well.
  bool LostAtOnce(absl::Time now, uint64_t succeeded) const {
    return now - begun_ < kAtOnce && succeeded == succeeded_before_;
  }

 private:
  // A connection that lives longer counts as one, whatever becomes of it.
  static constexpr absl::Duration kAtOnce = absl::Milliseconds(100);

  const uint64_t number_;
  uint64_t generation_ = 0;
  std::shared_ptr<void> counted_;
  ConnectionTerm term_;
  bool lingers_ = false;
  absl::Time begun_ = absl::InfinitePast();
  uint64_t succeeded_before_ = 0;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CONNECTION_H_
