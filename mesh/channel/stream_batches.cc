#include "mesh/channel/stream_batches.h"

#include "mesh/grpc/call_hook.h"
#include "mesh/grpc/op_set.h"

namespace mesh::channel {

using grpc::experimental::InterceptionHookPoints;

StreamBatch DescribeBatch(grpc::experimental::InterceptorBatchMethods* methods,
                          bool typed) {
  StreamBatch batch;
  batch.methods = methods;
  batch.ops = core::OpsOf(methods);
  batch.filled = core::CoreCallOf(methods);
  batch.status = methods->GetRecvStatus();
  batch.start =
      core::IsAt(methods, InterceptionHookPoints::PRE_SEND_INITIAL_METADATA);
  batch.send = core::IsAt(methods, InterceptionHookPoints::PRE_SEND_MESSAGE);
  batch.close = core::IsAt(methods, InterceptionHookPoints::PRE_SEND_CLOSE);
  batch.headers = typed && core::ReceivesHeaders(batch.ops);
  batch.read = methods->GetRecvMessage() != nullptr &&
               batch.status == nullptr && !batch.send;
  batch.where = StreamBatch::Where::kDown;
  return batch;
}

void RearmBatch(StreamBatch* batch, grpc::ClientContext* context,
                const SendBuffer& sent) {
  // A CallOpRecvMessage stays armed, whatever its type is.
  if (batch->start) core::RearmStart(batch->ops, context);
  if (batch->send) {
    const SendBuffer::Message& message = sent.messages().back();
    core::RearmMessage(batch->ops, message.bytes, message.options);
  }
  if (batch->close) core::RearmClose(batch->ops);
  if (batch->headers) {
    core::RearmHeaders(batch->ops, context);
    batch->owes_post_headers = false;
  }
  if (batch->deserializer != nullptr) {
    core::LendDeserializer(batch->ops, batch->deserializer.get());
  }
  if (batch->status != nullptr) {
    core::RearmStatus(batch->ops, context, batch->status);
  }
}

StreamBatch* StreamBatches::Find(
    const grpc::internal::CallOpSetInterface* ops) {
  for (StreamBatch& batch : batches_) {
    if (batch.ops == ops) return &batch;
  }
  return nullptr;
}

StreamBatch* StreamBatches::Vehicle() {
  StreamBatch* best = nullptr;
  int best_rank = 0;
  for (StreamBatch& batch : batches_) {
    if (batch.where != StreamBatch::Where::kUp || batch.start) continue;
    const int rank = batch.read                ? 1
                     : batch.headers           ? 2
                     : batch.status != nullptr ? 3
                                               : 4;
    if (rank > best_rank) {
      best = &batch;
      best_rank = rank;
    }
  }
  return best;
}

bool StreamBatches::WaitsForHeaders(const StreamBatch& batch) const {
  if (!batch.read || batch.headers) return false;
  for (const StreamBatch& other : batches_) {
    if (other.headers) return true;
  }
  return false;
}

}  // namespace mesh::channel
