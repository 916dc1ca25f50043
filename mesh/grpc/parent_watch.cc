#include "mesh/grpc/parent_watch.h"

#include <atomic>
#include <utility>

namespace mesh::core {

struct ParentWatch::State {
  explicit State(grpc_call* core) : core(core) {
    grpc_init();
    grpc_metadata_array_init(&trailers);
  }
  ~State() {
    grpc_metadata_array_destroy(&trailers);
    grpc_slice_unref(details);
    grpc_call_unref(core);
    grpc_shutdown();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  grpc_call* const core;
  std::atomic<bool> stopped{false};
  // Nobody reads them.
  grpc_metadata_array trailers;
  grpc_status_code code = GRPC_STATUS_OK;
  grpc_slice details = grpc_empty_slice();
};

ParentWatch::ParentWatch(grpc_call* core, std::function<void()> cancelled)
    : state_(std::make_shared<State>(core)) {
  grpc_op op = {};
  op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  op.data.recv_status_on_client.trailing_metadata = &state_->trailers;
  op.data.recv_status_on_client.status = &state_->code;
  op.data.recv_status_on_client.status_details = &state_->details;
  void* const tag = CoreQueue::Tag(
      [state = state_, cancelled = std::move(cancelled)] {
        if (!state->stopped.load(std::memory_order_relaxed)) cancelled();
      },
      /*inlined=*/true);
  if (grpc_call_start_batch(core, &op, 1, tag, nullptr) != GRPC_CALL_OK) {
    // It never is: then nothing is watched.
    state_->stopped.store(true, std::memory_order_relaxed);
    CoreQueue::RunRefused(tag);
  }
}

ParentWatch::~ParentWatch() {
  state_->stopped.store(true, std::memory_order_relaxed);
  grpc_call_cancel(state_->core, nullptr);
}

}  // namespace mesh::core
