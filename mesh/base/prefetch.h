#ifndef MESH_BASE_PREFETCH_H_
#define MESH_BASE_PREFETCH_H_

namespace mesh::base {

// Asks for the cache line of `address` to write to it. A line that another core
// wrote last is then moved here once. A load and an atomic increment after it
// would have it sent twice.
inline void PrefetchToWrite(const void* address) {
#if defined(__x86_64__)
  // __builtin_prefetch(address, 1) asks for a copy to read, unless the compiler
  // may assume a newer CPU. On CPUs without it this instruction does nothing.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace mesh::base

#endif  // MESH_BASE_PREFETCH_H_
