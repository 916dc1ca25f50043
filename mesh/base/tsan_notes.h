#ifndef MESH_BASE_TSAN_NOTES_H_
#define MESH_BASE_TSAN_NOTES_H_

#if defined(MESH_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

// Notes for ThreadSanitizer. gRPC orders what threads do with an object that
// they hand to it, and the sanitizer does not see how: gRPC is not
// instrumented. In all other builds a note does nothing.

namespace mesh::base {

// What this thread has done comes before what a thread does after it has called
// NoteAfter(object). Call it before gRPC can hand the object on.
inline void NoteBefore(const void* object) {
#if defined(MESH_TSAN)
  __tsan_release(const_cast<void*>(object));
#endif
}

// What threads had done when they called NoteBefore(object) comes before what
// this thread does now.
inline void NoteAfter(const void* object) {
#if defined(MESH_TSAN)
  __tsan_acquire(const_cast<void*>(object));
#endif
}

}  // namespace mesh::base

#endif  // MESH_BASE_TSAN_NOTES_H_
