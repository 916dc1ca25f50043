#include "mesh/grpc/core_queue.h"

#include <memory>
#include <utility>

#include "mesh/base/tsan_notes.h"

namespace mesh::core {
namespace {

struct Event : grpc_completion_queue_functor {
  Event(std::function<void()> run, bool inlined) : run(std::move(run)) {
    functor_run = [](grpc_completion_queue_functor* self, int) {
      base::NoteAfter(self);  // gRPC orders an operation before its end.
      std::unique_ptr<Event> event(static_cast<Event*>(self));
      event->run();
    };
    inlineable = inlined ? 1 : 0;
  }
  std::function<void()> run;
};

// Runs when the last event after the shutdown has come. Until then gRPC is up.
struct Shutdown : grpc_completion_queue_functor {
  Shutdown() {
    grpc_init();
    functor_run = [](grpc_completion_queue_functor* self, int) {
      std::unique_ptr<Shutdown> shutdown(static_cast<Shutdown*>(self));
      grpc_completion_queue_destroy(shutdown->queue);
      grpc_shutdown();
    };
    inlineable = 1;
  }
  grpc_completion_queue* queue = nullptr;
};

}  // namespace

CoreQueue::CoreQueue()
    : queue_([] {
        auto* const shutdown = new Shutdown;
        shutdown->queue =
            grpc_completion_queue_create_for_callback(shutdown, nullptr);
        return shutdown->queue;
      }()) {}

CoreQueue::~CoreQueue() { grpc_completion_queue_shutdown(queue_); }

void* CoreQueue::Tag(std::function<void()> run, bool inlined) {
  return new Event(std::move(run), inlined);
}

void CoreQueue::RunRefused(void* tag) {
  base::NoteBefore(tag);
  auto* const event = static_cast<grpc_completion_queue_functor*>(tag);
  event->functor_run(event, 0);
}

}  // namespace mesh::core
