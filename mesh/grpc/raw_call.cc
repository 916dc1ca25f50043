#include "mesh/grpc/raw_call.h"

#include <utility>
#include <vector>

#include "absl/base/optimization.h"
#include "grpc/byte_buffer.h"
#include "grpc/byte_buffer_reader.h"
#include "grpc/support/alloc.h"
#include "grpcpp/support/slice.h"

namespace mesh::core {
namespace {

grpc_slice ToSlice(const std::string& text) {
  return grpc_slice_from_copied_buffer(text.data(), text.size());
}

}  // namespace

grpc_byte_buffer* ToCore(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  // Fails only for a buffer that is not valid: no message is sent as an empty
  // one.
  if (bytes.Valid()) (void)bytes.Dump(&slices).ok();
  std::vector<grpc_slice> core;
  core.reserve(slices.size());
  for (const grpc::Slice& slice : slices) core.push_back(slice.c_slice());
  grpc_byte_buffer* const result =
      grpc_raw_byte_buffer_create(core.data(), core.size());
  for (const grpc_slice& slice : core) grpc_slice_unref(slice);
  return result;
}

grpc::ByteBuffer FromCore(grpc_byte_buffer* bytes) {
  std::vector<grpc::Slice> slices;
  grpc_byte_buffer_reader reader;
  // Fails only for what is compressed, which the core does not hand out.
  if (grpc_byte_buffer_reader_init(&reader, bytes) != 0) {
    grpc_slice slice;
    while (grpc_byte_buffer_reader_next(&reader, &slice) != 0) {
      slices.emplace_back(slice, grpc::Slice::STEAL_REF);
    }
    grpc_byte_buffer_reader_destroy(&reader);
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

RawCall::RawCall(grpc_call* call) : call_(call), message_(grpc_empty_slice()) {
  grpc_init();
  grpc_metadata_array_init(&answer_.initial_metadata);
  grpc_metadata_array_init(&answer_.trailing_metadata);
}

RawCall::~RawCall() {
  grpc_metadata_array_destroy(&answer_.initial_metadata);
  grpc_metadata_array_destroy(&answer_.trailing_metadata);
  if (answer_.message != nullptr) grpc_byte_buffer_destroy(answer_.message);
  grpc_slice_unref(message_);
  gpr_free(const_cast<char*>(debug_));
  grpc_call_unref(call_);
  grpc_shutdown();
}

void RawCall::Start(std::shared_ptr<RawCall> self,
                    const std::multimap<std::string, std::string>& metadata,
                    uint32_t metadata_flags, const grpc::ByteBuffer& request,
                    std::function<void()> done) {
  RawCall* const call = self.get();
  std::vector<grpc_metadata> sent;
  sent.reserve(metadata.size());
  for (const auto& [key, value] : metadata) {
    sent.push_back({ToSlice(key), ToSlice(value), {{nullptr}}});
  }
  grpc_byte_buffer* const message = ToCore(request);

  grpc_op ops[6] = {};
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[0].flags = metadata_flags;
  ops[0].data.send_initial_metadata.count = sent.size();
  ops[0].data.send_initial_metadata.metadata = sent.data();
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = message;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata =
      &call->answer_.initial_metadata;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &call->answer_.message;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata =
      &call->answer_.trailing_metadata;
  ops[5].data.recv_status_on_client.status = &call->code_;
  ops[5].data.recv_status_on_client.status_details = &call->message_;
  ops[5].data.recv_status_on_client.error_string = &call->debug_;

  grpc_call* const core = call->call_;
  void* const tag =
      CoreQueue::Tag([self = std::move(self), done = std::move(done)] {
        RawAnswer& answer = self->answer_;
        answer.status =
            grpc::Status(static_cast<grpc::StatusCode>(self->code_),
                         std::string(reinterpret_cast<const char*>(
                                         GRPC_SLICE_START_PTR(self->message_)),
                                     GRPC_SLICE_LENGTH(self->message_)));
        if (self->debug_ != nullptr && self->code_ != GRPC_STATUS_OK) {
          answer.debug = self->debug_;
        }
        done();
      });
  if (ABSL_PREDICT_FALSE(grpc_call_start_batch(core, ops, 6, tag, nullptr) !=
                         GRPC_CALL_OK)) {
    // Something in the metadata cannot be sent.
    call->code_ = GRPC_STATUS_INTERNAL;
    CoreQueue::RunRefused(tag);
  }
  grpc_byte_buffer_destroy(message);
  for (const grpc_metadata& entry : sent) {
    grpc_slice_unref(entry.key);
    grpc_slice_unref(entry.value);
  }
}

}  // namespace mesh::core
