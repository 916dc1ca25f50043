#ifndef MESH_GRPC_IN_PROCESS_ANSWER_H_
#define MESH_GRPC_IN_PROCESS_ANSWER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/grpc.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "mesh/grpc/core_queue.h"
#include "mesh/grpc/raw_call.h"

namespace mesh::core {

// What a call is to be answered with.
struct InProcessAnswer {
  InProcessAnswer() = default;
  // The same as `answer`, whose bytes are shared.
  explicit InProcessAnswer(const RawAnswer& answer);

  using Metadata = std::vector<std::pair<std::string, std::string>>;
  Metadata initial_metadata;
  Metadata trailing_metadata;
  grpc::Status status;
  bool has_message = false;
  grpc::ByteBuffer message;
};

// Answers calls inside the process with what is known already. An application
// waits, on a queue of its own, on batches whose message type mesh does not
// know. To hand it an answer that came elsewhere, its batches are started on a
// call to this server, and gRPC does the rest. It is a gRPC server without a
// port or a thread: all that it does happens on the thread that starts the
// batch. Thread-safe.
class InProcessServer {
 public:
  InProcessServer();
  // Calls that run are cancelled. Waits for nothing.
  ~InProcessServer();
  InProcessServer(const InProcessServer&) = delete;
  InProcessServer& operator=(const InProcessServer&) = delete;

  // A new call, with events on `queue`, that will be answered with `answer`. It
  // is answered for as long as `registration`, which is set, is kept.
  grpc_call* NewCall(InProcessAnswer answer, grpc_completion_queue* queue,
                     std::shared_ptr<void>* registration);

  // A new call, with events on the server's queue, that ends only when it is
  // cancelled: by its owner, or with `parent`, a call that some server serves.
  grpc_call* NewSilentCall(grpc_call* parent);

 private:
  struct Core;

  const std::shared_ptr<Core> core_;  // What is under way shares it.
};

}  // namespace mesh::core

#endif  // MESH_GRPC_IN_PROCESS_ANSWER_H_
