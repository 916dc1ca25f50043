#ifndef MESH_CHANNEL_SEND_BUFFER_H_
#define MESH_CHANNEL_SEND_BUFFER_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "grpcpp/impl/call_op_set.h"
#include "grpcpp/support/byte_buffer.h"
#include "mesh/base/byte_budget.h"

namespace mesh::channel {

// What a stream has sent so far, kept so that it can be sent again. It holds
// references to the serialized messages, not copies. Not thread-safe.
class SendBuffer {
 public:
  struct Message {
    grpc::ByteBuffer bytes;
    grpc::WriteOptions options;
  };

  // What keeping a message counts as beside its bytes. So empty messages are
  // bounded, too.
  static constexpr uint64_t kOverhead = 256;

  // Keeps at most `limit` bytes, and at most what `shared` (not null) has left.
  SendBuffer(uint64_t limit, base::ByteBudget* shared)
      : limit_(limit), shared_(shared) {}
  ~SendBuffer() { Clear(); }
  SendBuffer(const SendBuffer&) = delete;
  SendBuffer& operator=(const SendBuffer&) = delete;

  // A message is about to be sent. False when it would go beyond a limit: it is
  // not kept then.
  bool Add(const grpc::ByteBuffer& bytes, const grpc::WriteOptions& options) {
    const uint64_t size = bytes.Length() + kOverhead;
    if (size > limit_ || bytes_ > limit_ - size || !shared_->Take(size)) {
      return false;
    }
    bytes_ += size;
    messages_.push_back({bytes, options});
    return true;
  }
  // The application has been told that all messages until now were sent. So it
  // is up to the keeper to send them again.
  void MarkDone() { done_ = messages_.size(); }

  using Messages = absl::InlinedVector<Message, 1>;
  const Messages& messages() const { return messages_; }
  size_t done() const { return done_; }
  uint64_t bytes() const { return bytes_; }

  void Clear() {
    shared_->Return(bytes_);
    bytes_ = 0;
    done_ = 0;
    messages_.clear();
  }

 private:
  const uint64_t limit_;
  base::ByteBudget* const shared_;
  Messages messages_;
  size_t done_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_SEND_BUFFER_H_
