#ifndef MESH_SERVER_ATTACHMENT_H_
#define MESH_SERVER_ATTACHMENT_H_

#include <atomic>
#include <memory>

#include "grpc/grpc.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/server_context.h"
#include "mesh/server/connection_ledger.h"
#include "mesh/server/server.h"

namespace mesh::server {

// What mesh has to say at a server. The server owns it while it lives.
class ServerAttachment : public Attachment {
 public:
  void AnnounceShutdown() override {
    draining_.store(true, std::memory_order_relaxed);
  }
  bool draining() const { return draining_.load(std::memory_order_relaxed); }

  // Who makes a call that was admitted. Not known: it came to a port of others.
  virtual Caller CallerOf(grpc::ServerContextBase*) { return Caller(); }
  // In their order: the server's arguments are known, it has started, and it
  // was destroyed. The last is told even if it did not start.
  virtual void Configured(const grpc_channel_args&) {}
  virtual void Started() {}
  virtual void Gone() {}

 private:
  std::atomic<bool> draining_{false};
};

// Attaches `attachment` to the server that `builder` is to build.
void Install(grpc::ServerBuilder* builder,
             std::shared_ptr<ServerAttachment> attachment);
// What Install() was called with. Null: nothing.
std::shared_ptr<ServerAttachment> Installed(grpc::ServerBuilder* builder);

}  // namespace mesh::server

#endif  // MESH_SERVER_ATTACHMENT_H_
