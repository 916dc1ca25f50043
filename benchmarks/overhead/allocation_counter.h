#ifndef MESH_BENCHMARKS_OVERHEAD_ALLOCATION_COUNTER_H_
#define MESH_BENCHMARKS_OVERHEAD_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace mesh::benchmarks {

// Heap allocations of the whole process until now: malloc, calloc, realloc and
// the aligned ones, whoever calls them. A program that links this library has
// its malloc replaced by one that counts.
uint64_t AllocationCount();

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OVERHEAD_ALLOCATION_COUNTER_H_
