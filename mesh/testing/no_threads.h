#ifndef MESH_TESTING_NO_THREADS_H_
#define MESH_TESTING_NO_THREADS_H_

#include <pthread.h>

#include <cstddef>

namespace mesh::testing {

// While it lives this process can start no thread: no address space has room
// for a stack as large as the default then is. gRPC is to have its threads by
// then. One at a time.
class NoThreads {
 public:
  NoThreads() {
    pthread_attr_t huge;
    pthread_getattr_default_np(&before_);
    pthread_getattr_default_np(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 60);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_;
};

}  // namespace mesh::testing

#endif  // MESH_TESTING_NO_THREADS_H_
