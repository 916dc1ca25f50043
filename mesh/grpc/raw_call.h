#ifndef MESH_GRPC_RAW_CALL_H_
#define MESH_GRPC_RAW_CALL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "grpc/grpc.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "mesh/grpc/core_queue.h"

namespace mesh::core {

// What became of a call, as gRPC's C++ classes would get it from the core.
struct RawAnswer {
  grpc::Status status;
  std::string debug;  // Empty when the status is OK.
  // Metadata whose memory belongs to the call that received it.
  grpc_metadata_array initial_metadata;
  grpc_metadata_array trailing_metadata;
  grpc_byte_buffer* message = nullptr;  // Null: none came.
};

// One unary call of mesh's own, on the core's C interface and on a queue of
// mesh's own. Its answer is received as bytes. Thread-safe where it says so.
class RawCall {
 public:
  // Takes `call`, which is to be on a CoreQueue. gRPC stays up for as long as
  // this lives.
  explicit RawCall(grpc_call* call);
  ~RawCall();
  RawCall(const RawCall&) = delete;
  RawCall& operator=(const RawCall&) = delete;

  // Call it once. It shares the memory of `request`. `done` is called once,
  // when all of the answer is there, on a thread of gRPC with no lock held.
  // `self` is kept until then.
  static void Start(std::shared_ptr<RawCall> self,
                    const std::multimap<std::string, std::string>& metadata,
                    uint32_t metadata_flags, const grpc::ByteBuffer& request,
                    std::function<void()> done);

  // Any thread, at any time; more than once too.
  void Cancel() { grpc_call_cancel(call_, nullptr); }

  grpc_call* call() const { return call_; }
  // Once `done` has been called.
  const RawAnswer& answer() const { return answer_; }

 private:
  grpc_call* const call_;
  RawAnswer answer_;
  grpc_status_code code_ = GRPC_STATUS_UNKNOWN;
  grpc_slice message_;
  const char* debug_ = nullptr;
};

// The same bytes, in shared memory, as the other side of gRPC's API has them.
grpc_byte_buffer* ToCore(const grpc::ByteBuffer& bytes);
grpc::ByteBuffer FromCore(grpc_byte_buffer* bytes);

}  // namespace mesh::core

#endif  // MESH_GRPC_RAW_CALL_H_
