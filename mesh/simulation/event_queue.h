#ifndef MESH_SIMULATION_EVENT_QUEUE_H_
#define MESH_SIMULATION_EVENT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mesh/simulation/events.h"

namespace mesh::simulation {

// Events in the order of their time; those of one time in the order in which
// they came. It is a heap with four children per node. So it is half as deep as
// one with two, and a node's children share a cache line or two.
class EventQueue {
 public:
  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }

  void Push(Event event) {
    event.order = next_order_++;
    size_t i = heap_.size();
    heap_.push_back(event);
    while (i > 0) {
      const size_t parent = (i - 1) / 4;
      if (!Before(event, heap_[parent])) break;
      heap_[i] = heap_[parent];
      i = parent;
    }
    heap_[i] = event;
  }

  // The earliest event. The queue must not be empty.
  Event Pop() {
    const Event result = heap_.front();
    const Event last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) SiftDown(last);
    return result;
  }

 private:
  static bool Before(const Event& x, const Event& y) {
    return x.time != y.time ? x.time < y.time : x.order < y.order;
  }

  void SiftDown(const Event& event) {
    const size_t size = heap_.size();
    size_t i = 0;
    for (;;) {
      const size_t first = 4 * i + 1;
      if (first >= size) break;
      const size_t end = first + 4 < size ? first + 4 : size;
      size_t least = first;
      for (size_t child = first + 1; child < end; ++child) {
        if (Before(heap_[child], heap_[least])) least = child;
      }
      if (!Before(heap_[least], event)) break;
      heap_[i] = heap_[least];
      i = least;
    }
    heap_[i] = event;
  }

  std::vector<Event> heap_;
  uint64_t next_order_ = 0;
};

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_EVENT_QUEUE_H_
