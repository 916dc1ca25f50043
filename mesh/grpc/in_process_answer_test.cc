#include "mesh/grpc/in_process_answer.h"

#include <future>
#include <memory>
#include <thread>

#include "grpc/grpc.h"
#include "gtest/gtest.h"
#include "mesh/grpc/core_queue.h"

namespace mesh::core {
namespace {

TEST(InProcessServerTest, MayGoWhileItsCallsArrive) {
  grpc_init();
  for (int i = 0; i < 500; ++i) {
    CoreQueue queue;
    auto server = std::make_unique<InProcessServer>();
    std::shared_ptr<void> registration;
    grpc_call* const call =
        server->NewCall(InProcessAnswer(), queue.queue(), &registration);

    grpc_status_code code = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_metadata_array trailers;
    grpc_metadata_array_init(&trailers);
    std::promise<void> done;
    std::thread caller([&] {
      grpc_op ops[3] = {};
      ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
      ops[1].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
      ops[2].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
      ops[2].data.recv_status_on_client.trailing_metadata = &trailers;
      ops[2].data.recv_status_on_client.status = &code;
      ops[2].data.recv_status_on_client.status_details = &details;
      EXPECT_EQ(
          grpc_call_start_batch(
              call, ops, 3, CoreQueue::Tag([&] { done.set_value(); }), nullptr),
          GRPC_CALL_OK);
    });
    if (i % 2 == 0) std::this_thread::yield();
    server.reset();
    caller.join();
    done.get_future().wait();
    // Answered in time, or cancelled.
    if (code != GRPC_STATUS_OK) {
      EXPECT_NE(code, GRPC_STATUS_UNKNOWN);
    }
    grpc_slice_unref(details);
    grpc_metadata_array_destroy(&trailers);
    grpc_call_unref(call);
  }
  grpc_shutdown();
}

}  // namespace
}  // namespace mesh::core
