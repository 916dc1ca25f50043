#ifndef MESH_CHANNEL_STREAM_BATCHES_H_
#define MESH_CHANNEL_STREAM_BATCHES_H_

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "grpcpp/grpcpp.h"
#include "mesh/channel/send_buffer.h"
#include "mesh/grpc/access.h"

namespace mesh::channel {

// A batch of a stream that is not committed yet.
struct StreamBatch {
  enum class Where : uint8_t {
    kDown,     // Held on its way down.
    kInCore,   // On its way up.
    kUp,       // Held on its way up.
    kPending,  // Held, to be started when what comes before has been sent.
  };
  // What mesh itself runs under a batch's tag.
  enum class Errand : uint8_t {
    kNone,
    kReplay,     // Sends again what had been sent.
    kHeaders,    // Asks, after a failure, whether there are response headers.
    kStatus,     // Asks for the status.
    kOwnHeaders  // Brings its own initial metadata, apart from its status.
  };

  grpc::internal::CallOpSetInterface* ops = nullptr;
  grpc::experimental::InterceptorBatchMethods* methods = nullptr;
  grpc_call* filled = nullptr;  // FillOps() holds a reference to it.
  Where where = Where::kInCore;
  Errand errand = Errand::kNone;
  bool ok = false;       // It has come up, and succeeded.
  bool start = false;    // Sends initial metadata.
  bool send = false;     // Sends a message.
  bool close = false;    // Half-closes.
  bool headers = false;  // Receives initial metadata.
  bool read = false;     // Receives a message.
  bool restarted = false;
  bool disarmed = false;  // It is not as the application made it.
  bool owes_post_send = false;
  bool owes_post_headers = false;
  grpc::Status* status = nullptr;   // Receives the status.
  core::Deserializer deserializer;  // Kept for when gRPC forgets it.

  bool sends() const { return start || send || close; }
};

// A batch on its way down, held. `typed`: its stub was compiled with RTTI.
StreamBatch DescribeBatch(grpc::experimental::InterceptorBatchMethods* methods,
                          bool typed);

// Makes a batch that has come up, or was disarmed, as the application made it.
// If it sends a message, that is the last one in `sent`.
void RearmBatch(StreamBatch* batch, grpc::ClientContext* context,
                const SendBuffer& sent);

// The batches of a stream that are held, or under way. Not thread-safe.
class StreamBatches {
 public:
  using Batches = absl::InlinedVector<StreamBatch, 4>;

  void Add(StreamBatch batch) { batches_.push_back(std::move(batch)); }
  void Erase(StreamBatch* batch) {
    batches_.erase(batches_.begin() + (batch - batches_.data()));
  }
  // Null: there is no such batch.
  StreamBatch* Find(const grpc::internal::CallOpSetInterface* ops);

  // The batch under whose tag what had been sent is sent again; it starts only
  // after that. Preferably it receives no messages. Null: none is held.
  StreamBatch* Vehicle();

  // Whether `batch` waits for another one that asks for response headers. A
  // message may not come before they have been asked for, because the core
  // would not know how it is compressed.
  bool WaitsForHeaders(const StreamBatch& batch) const;

  size_t size() const { return batches_.size(); }
  StreamBatch& operator[](size_t i) { return batches_[i]; }
  Batches::iterator begin() { return batches_.begin(); }
  Batches::iterator end() { return batches_.end(); }
  Batches::const_iterator begin() const { return batches_.begin(); }
  Batches::const_iterator end() const { return batches_.end(); }

 private:
  Batches batches_;
};

}  // namespace mesh::channel

#endif  // MESH_CHANNEL_STREAM_BATCHES_H_
