// Tells ThreadSanitizer what gRPC orders. Linked into every binary and test of
// a --config=tsan build, and only there (.bazelrc).
//
// The system's gRPC and Abseil are not instrumented. One thread does something
// before it starts a batch. Another thread does something when the batch's tag
// comes out of the queue. The sanitizer does not see that the first happens
// before the second.
//
// The functions here stand in front of gRPC's own. The dynamic linker finds the
// executable's definition of a symbol first, also for calls from inside
// libgrpc++ and libgrpc. Each function forwards to the next definition. Each
// tells the one edge that gRPC promises, and no other:
//
//   a tag goes in (grpc_cq_begin_op)   ->  it comes out (next, pluck)
//   gRPC is done with it (end_op)      ->  it comes out
//   a context gets its call            ->  it is cancelled, and the reverse
//   a server starts                    ->  its queues hand out what arrives
//   a closure goes to gRPC's executor  ->  it runs
//   an alarm is set                    ->  its callback runs
//   a reference is dropped             ->  the last one is
//   a callback handler is done         ->  its server is shut down
//   an absl::Mutex is unlocked         ->  it is locked, both in code that is
//                                          instrumented (gRPC's headers)
//
// Whatever else gRPC's own code does (its locks, its sockets) orders nothing
// for the sanitizer. Otherwise an order that came about by chance could hide a
// race of ours.
//
// It relies on gRPC 1.51's internal symbols; tests/sanitizers checks them.

#include <dlfcn.h>
#include <grpc/grpc.h>
#include <link.h>
#include <sanitizer/tsan_interface.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/server.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"

// A function whose own accesses the sanitizer does not look at.
#define UNSEEN __attribute__((no_sanitize_thread))

namespace {

// The definition of `symbol` that the executable's hides.
template <typename Function>
Function* Next(Function*, const char* symbol) {
  void* const next = dlsym(RTLD_NEXT, symbol);
  if (next == nullptr) {
    std::fprintf(stderr, "tsan_seam: gRPC has no %s\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Function*>(next);
}

// A member function, as the compiler calls it.
template <typename Result, typename Object, typename... Args>
Result (*NextMember(const char* symbol))(Object*, Args...) {
  void* const next = dlsym(RTLD_NEXT, symbol);
  if (next == nullptr) {
    std::fprintf(stderr, "tsan_seam: the library has no %s\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Result (*)(Object*, Args...)>(next);
}

// Where the code of the system's libraries is.
class SystemCode {
 public:
  static bool Holds(const void* address) {
    static const SystemCode* const code = new SystemCode;
    const auto at = reinterpret_cast<uintptr_t>(address);
    const auto next = std::upper_bound(
        code->ranges_.begin(), code->ranges_.end(), Range{at, UINTPTR_MAX});
    return next != code->ranges_.begin() && at < (next - 1)->end;
  }

  static bool IsSystem(const char* path) {
    return std::strncmp(path, "/usr/lib/", 9) == 0 ||
           std::strncmp(path, "/lib/", 5) == 0;
  }

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
    bool operator<(const Range& other) const { return begin < other.begin; }
  };

  SystemCode() {
    dl_iterate_phdr(&SystemCode::Add, this);
    std::sort(ranges_.begin(), ranges_.end());
  }

  static int Add(dl_phdr_info* info, size_t, void* self) {
    if (!IsSystem(info->dlpi_name)) return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
      const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
      static_cast<SystemCode*>(self)->ranges_.push_back(
          {begin, begin + header.p_memsz});
    }
    return 0;
  }

  std::vector<Range> ranges_;  // By address.
};

// Whether the caller of the function that asks is instrumented.
#define CALLER_IS_INSTRUMENTED() \
  (!SystemCode::Holds(__builtin_return_address(0)))

// The queues of each server that is not started yet.
struct ServerQueues {
  std::mutex mu;
  std::multimap<grpc_server*, grpc_completion_queue*> queues;
};

ServerQueues& UnstartedServers() {
  static ServerQueues* const servers = new ServerQueues;
  return *servers;
}

}  // namespace

// Symbols of gRPC's C++ internals, by their mangled names. absl::Status is
// passed by address, as every type with a destructor.
extern "C" {
bool mesh_seam_cq_begin_op(grpc_completion_queue* cq, void* tag) asm(
    "_Z16grpc_cq_begin_opP21grpc_completion_queuePv");
void mesh_seam_executor_run(void* closure, void* status, int type, int job) asm(
    "_ZN9grpc_core8Executor3RunEP12grpc_closureN4absl7debian36StatusENS_"
    "12ExecutorTypeENS_15ExecutorJobTypeE");
void mesh_seam_cq_end_op(grpc_completion_queue* cq, void* tag, void* status, void* done, void* done_arg, void* storage, bool internal) asm(
    "_Z14grpc_cq_end_opP21grpc_completion_queuePvN4absl"
    "7debian36StatusEPFvS1_P18grpc_cq_completionES1_S6_b");
void mesh_seam_set_call(grpc::ClientContext* context, grpc_call* call, const std::shared_ptr<grpc::Channel>* channel) asm(
    "_ZN4grpc13ClientContext8set_callEP9grpc_callRKSt10shared_ptrINS_"
    "7ChannelEE");
}

// ---- A tag goes in, and comes out -------------------------------------------

bool mesh_seam_cq_begin_op(grpc_completion_queue* cq, void* tag) {
  static auto* const next = Next(
      &mesh_seam_cq_begin_op, "_Z16grpc_cq_begin_opP21grpc_completion_queuePv");
  __tsan_release(tag);
  return next(cq, tag);
}

// What gRPC has received is in the memory that it hands over with the tag.
void mesh_seam_cq_end_op(grpc_completion_queue* cq, void* tag, void* status,
                         void* done, void* done_arg, void* storage,
                         bool internal) {
  static auto* const next =
      Next(&mesh_seam_cq_end_op,
           "_Z14grpc_cq_end_opP21grpc_completion_queuePvN4absl7debian36Status"
           "EPFvS1_P18grpc_cq_completionES1_S6_b");
  __tsan_release(tag);
  next(cq, tag, status, done, done_arg, storage, internal);
}

extern "C" grpc_event grpc_completion_queue_next(grpc_completion_queue* cq,
                                                 gpr_timespec deadline,
                                                 void* reserved) {
  static auto* const next =
      Next(&grpc_completion_queue_next, "grpc_completion_queue_next");
  const grpc_event event = next(cq, deadline, reserved);
  __tsan_acquire(cq);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

extern "C" grpc_event grpc_completion_queue_pluck(grpc_completion_queue* cq,
                                                  void* tag,
                                                  gpr_timespec deadline,
                                                  void* reserved) {
  static auto* const next =
      Next(&grpc_completion_queue_pluck, "grpc_completion_queue_pluck");
  const grpc_event event = next(cq, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(tag);
  return event;
}

// ---- A server starts --------------------------------------------------------

extern "C" void grpc_server_register_completion_queue(grpc_server* server,
                                                      grpc_completion_queue* cq,
                                                      void* reserved) {
  static auto* const next = Next(&grpc_server_register_completion_queue,
                                 "grpc_server_register_completion_queue");
  next(server, cq, reserved);
  ServerQueues& servers = UnstartedServers();
  std::lock_guard<std::mutex> lock(servers.mu);
  servers.queues.emplace(server, cq);
}

extern "C" void grpc_server_start(grpc_server* server) {
  static auto* const next = Next(&grpc_server_start, "grpc_server_start");
  {
    ServerQueues& servers = UnstartedServers();
    std::lock_guard<std::mutex> lock(servers.mu);
    const auto range = servers.queues.equal_range(server);
    for (auto it = range.first; it != range.second; ++it) {
      __tsan_release(it->second);
    }
    servers.queues.erase(range.first, range.second);
  }
  next(server);
}

// ---- A closure goes to the executor -----------------------------------------

namespace {

// As grpc_closure begins (src/core/lib/iomgr/closure.h). It is gRPC's memory,
// so what is done to it here is not looked at.
struct Closure {
  void* queue_links;
  void (*run)(void* arg, void* status);
  void* arg;
};

// What was in a closure before it was made to run through Trampoline().
struct Replaced {
  Closure* closure;
  void (*run)(void* arg, void* status);
  void* arg;
};

UNSEEN void Trampoline(void* arg, void* status) {
  __tsan_acquire(arg);
  auto* const replaced = static_cast<Replaced*>(arg);
  const Replaced copy = *replaced;
  delete replaced;
  copy.closure->run = copy.run;
  copy.closure->arg = copy.arg;
  copy.run(copy.arg, status);
}

}  // namespace

UNSEEN void mesh_seam_executor_run(void* closure, void* status, int type,
                                   int job) {
  static auto* const next =
      Next(&mesh_seam_executor_run,
           "_ZN9grpc_core8Executor3RunEP12grpc_closureN4absl7debian36StatusENS_"
           "12ExecutorTypeENS_15ExecutorJobTypeE");
  auto* const target = static_cast<Closure*>(closure);
  auto* const replaced = new Replaced{target, target->run, target->arg};
  target->run = &Trampoline;
  target->arg = replaced;
  __tsan_release(replaced);
  next(closure, status, type, job);
}

// ---- An alarm is set, and rings
// ----------------------------------------------

namespace {

// Runs, once, what an alarm was set with. What is read before the edge is
// known to the sanitizer is not looked at.
struct Ring {
  std::function<void(bool)>* callback;
  UNSEEN void operator()(bool ok) const {
    std::function<void(bool)>* const set = callback;
    __tsan_acquire(set);
    (*set)(ok);
    delete set;
  }
};

}  // namespace

void grpc::Alarm::SetInternal(gpr_timespec deadline,
                              std::function<void(bool)> callback) {
  static auto* const next =
      NextMember<void, Alarm, gpr_timespec, std::function<void(bool)>>(
          "_ZN4grpc5Alarm11SetInternalE12gpr_timespecSt8functionIFvbEE");
  auto* const set = new std::function<void(bool)>(std::move(callback));
  __tsan_release(set);
  next(this, deadline, Ring{set});
}

// ---- Counts that are lowered on both sides ----------------------------------
//
// An atomic that instrumented code lowers, and gRPC, too. When gRPC brings it
// to zero, that comes after all that was done before it was lowered elsewhere.
// The sanitizer keeps what it orders at the address of the atomic.

namespace {

// Private members, by the one legal way to their names: an explicit
// instantiation may use them.
template <auto kMember, typename Tag>
struct Member {
  friend constexpr auto Get(Tag) { return kMember; }
};
// NOLINTBEGIN(bugprone-macro-parentheses): a name can't be.
#define PRIVATE_MEMBER(tag, member) \
  struct tag {                      \
    friend constexpr auto Get(tag); \
  };                                \
  template struct Member<&member, tag>
// NOLINTEND(bugprone-macro-parentheses)
PRIVATE_MEMBER(Outstanding,
               grpc::internal::ServerCallbackCall::callbacks_outstanding_);
PRIVATE_MEMBER(
    CancelConditions,
    grpc::internal::ServerCallbackCall::on_cancel_conditions_remaining_);
PRIVATE_MEMBER(HeldChannel, grpc::ClientContext::channel_);
PRIVATE_MEMBER(ContextMutex, grpc::ClientContext::mu_);
PRIVATE_MEMBER(Inlineable, grpc::internal::ServerReactor::InternalInlineable);

template <typename Tag, typename Object>
void* AddressOf(Tag tag, Object* object) {
  return &(object->*Get(tag));
}

// Stands for a reactor whose OnCancel() gRPC's executor will run, after which
// gRPC lowers the count.
class CancelledReactor final : public grpc::internal::ServerReactor {
 public:
  CancelledReactor(grpc::internal::ServerReactor* reactor, void* count)
      : reactor_(reactor), count_(count) {}
  void OnDone() override {}
  void OnCancel() override {
    reactor_->OnCancel();
    __tsan_release(count_);
    delete this;
  }

 private:
  grpc::internal::ServerReactor* const reactor_;
  void* const count_;
};

}  // namespace

// Does what the library's does, where the sanitizer sees it.
void absl::Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* const status = RepToPointer(rep);
  if (status->ref.fetch_sub(1, std::memory_order_acq_rel) == 1) delete status;
}

void grpc::internal::ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  static auto* const next = NextMember<void, ServerCallbackCall, bool>(
      "_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
  __tsan_acquire(AddressOf(Outstanding(), this));
  next(this, inline_ondone);
}

void grpc::internal::ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  static auto* const next =
      NextMember<void, ServerCallbackCall, ServerReactor*>(
          "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_"
          "13ServerReactorE");
  __tsan_acquire(AddressOf(CancelConditions(), this));
  if (!(reactor->*Get(Inlineable()))()) {
    reactor = new CancelledReactor(reactor, AddressOf(Outstanding(), this));
  }
  next(this, reactor);
}

// The handler of generic services is in libgrpc++, with the counts that it
// lowers. It is compiled here too, where the sanitizer sees them. This one goes
// before the library's, by its vtable.
template class grpc::internal::CallbackBidiHandler<grpc::ByteBuffer,
                                                   grpc::ByteBuffer>;

// A context holds its channel, and lets go of it inside libgrpc++: so another
// reference, dropped here, takes its place as the last.
extern "C" void mesh_seam_destroy_client_context(
    grpc::ClientContext* context) asm("_ZN4grpc13ClientContextD1Ev");
void mesh_seam_destroy_client_context(grpc::ClientContext* context) {
  static auto* const next =
      Next(&mesh_seam_destroy_client_context, "_ZN4grpc13ClientContextD1Ev");
  const std::shared_ptr<grpc::Channel> channel = context->*Get(HeldChannel());
  next(context);
}

// ---- A server is shut down when its callback handlers are done --------------
// Each of their calls has a reference to the server. It goes after OnDone().

void grpc::Server::UnrefWithPossibleNotify() {
  static auto* const next =
      NextMember<void, Server>("_ZN4grpc6Server23UnrefWithPossibleNotifyEv");
  __tsan_release(this);
  next(this);
}

void grpc::Server::UnrefAndWaitLocked() {
  static auto* const next =
      NextMember<void, Server>("_ZN4grpc6Server18UnrefAndWaitLockedEv");
  next(this);
  __tsan_acquire(this);
}

// ---- A context's call, set and cancelled ------------------------------------
// Both inside libgrpc++, under the context's lock.

void mesh_seam_set_call(grpc::ClientContext* context, grpc_call* call,
                        const std::shared_ptr<grpc::Channel>* channel) {
  static auto* const next =
      Next(&mesh_seam_set_call,
           "_ZN4grpc13ClientContext8set_callEP9grpc_callRKSt10shared_ptrINS_"
           "7ChannelEE");
  void* const mu = AddressOf(ContextMutex(), context);
  __tsan_acquire(mu);
  // Before the call: it also tells interceptors of an early cancellation.
  __tsan_release(mu);
  next(context, call, channel);
}

// Does what the library's does, where the sanitizer sees it.
void grpc::ClientContext::TryCancel() {
  internal::MutexLock lock(&mu_);
  if (call_ == nullptr) {
    call_canceled_ = true;
    return;
  }
  SendCancelToInterceptors();
  grpc_call_cancel(call_, nullptr);
}

// ---- An absl::Mutex, from instrumented code ---------------------------------
// Also gRPC's headers use it.

void absl::Mutex::Lock() {
  static auto* const next =
      NextMember<void, Mutex>("_ZN4absl7debian35Mutex4LockEv");
  next(this);
  if (CALLER_IS_INSTRUMENTED()) __tsan_acquire(this);
}

bool absl::Mutex::TryLock() {
  static auto* const next =
      NextMember<bool, Mutex>("_ZN4absl7debian35Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked && CALLER_IS_INSTRUMENTED()) __tsan_acquire(this);
  return locked;
}

void absl::Mutex::Unlock() {
  static auto* const next =
      NextMember<void, Mutex>("_ZN4absl7debian35Mutex6UnlockEv");
  if (CALLER_IS_INSTRUMENTED()) __tsan_release(this);
  next(this);
}

void absl::CondVar::Wait(Mutex* mu) {
  static auto* const next = NextMember<void, CondVar, Mutex*>(
      "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  const bool tell = CALLER_IS_INSTRUMENTED();
  if (tell) __tsan_release(mu);
  next(this, mu);
  if (tell) __tsan_acquire(mu);
}

bool absl::CondVar::WaitWithTimeout(Mutex* mu, absl::Duration timeout) {
  static auto* const next = NextMember<bool, CondVar, Mutex*, absl::Duration>(
      "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_"
      "8DurationE");
  const bool tell = CALLER_IS_INSTRUMENTED();
  if (tell) __tsan_release(mu);
  const bool late = next(this, mu, timeout);
  if (tell) __tsan_acquire(mu);
  return late;
}

bool absl::CondVar::WaitWithDeadline(Mutex* mu, absl::Time deadline) {
  static auto* const next = NextMember<bool, CondVar, Mutex*, absl::Time>(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  const bool tell = CALLER_IS_INSTRUMENTED();
  if (tell) __tsan_release(mu);
  const bool late = next(this, mu, deadline);
  if (tell) __tsan_acquire(mu);
  return late;
}

void absl::Notification::Notify() {
  static auto* const next =
      NextMember<void, Notification>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  next(this);
}

void absl::Notification::WaitForNotification() const {
  static auto* const next = NextMember<void, const Notification>(
      "_ZNK4absl7debian312Notification19WaitForNotificationEv");
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool absl::Notification::WaitForNotificationWithTimeout(
    absl::Duration timeout) const {
  static auto* const next =
      NextMember<bool, const Notification, absl::Duration>(
          "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_"
          "8DurationE");
  const bool notified = next(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

// ---- Settings ---------------------------------------------------------------

// Asked for before the sanitizer has begun.
extern "C" UNSEEN const char* __tsan_default_options() {
  return "exitcode=66:second_deadlock_stack=1:history_size=4";
}

// What gRPC, Abseil and OpenSSL (under gRPC's locks) do through libc (memcpy,
// free, sockets) is their own affair. Nothing of ours is suppressed.
extern "C" UNSEEN const char* __tsan_default_suppressions() {
  return "called_from_lib:/libabsl_bad_optional_access.so\n"
         "called_from_lib:/libabsl_bad_variant_access.so\n"
         "called_from_lib:/libabsl_base.so\n"
         "called_from_lib:/libabsl_city.so\n"
         "called_from_lib:/libabsl_civil_time.so\n"
         "called_from_lib:/libabsl_cord.so\n"
         "called_from_lib:/libabsl_cord_internal.so\n"
         "called_from_lib:/libabsl_cordz_functions.so\n"
         "called_from_lib:/libabsl_cordz_handle.so\n"
         "called_from_lib:/libabsl_cordz_info.so\n"
         "called_from_lib:/libabsl_debugging_internal.so\n"
         "called_from_lib:/libabsl_demangle_internal.so\n"
         "called_from_lib:/libabsl_exponential_biased.so\n"
         "called_from_lib:/libabsl_graphcycles_internal.so\n"
         "called_from_lib:/libabsl_hash.so\n"
         "called_from_lib:/libabsl_hashtablez_sampler.so\n"
         "called_from_lib:/libabsl_int128.so\n"
         "called_from_lib:/libabsl_leak_check.so\n"
         "called_from_lib:/libabsl_low_level_hash.so\n"
         "called_from_lib:/libabsl_malloc_internal.so\n"
         "called_from_lib:/libabsl_random_distributions.so\n"
         "called_from_lib:/libabsl_random_internal_platform.so\n"
         "called_from_lib:/libabsl_random_internal_pool_urbg.so\n"
         "called_from_lib:/libabsl_random_internal_randen.so\n"
         "called_from_lib:/libabsl_random_internal_randen_hwaes.so\n"
         "called_from_lib:/libabsl_random_internal_randen_hwaes_impl.so\n"
         "called_from_lib:/libabsl_random_internal_randen_slow.so\n"
         "called_from_lib:/libabsl_random_internal_seed_material.so\n"
         "called_from_lib:/libabsl_random_seed_gen_exception.so\n"
         "called_from_lib:/libabsl_random_seed_sequences.so\n"
         "called_from_lib:/libabsl_raw_hash_set.so\n"
         "called_from_lib:/libabsl_raw_logging_internal.so\n"
         "called_from_lib:/libabsl_spinlock_wait.so\n"
         "called_from_lib:/libabsl_stacktrace.so\n"
         "called_from_lib:/libabsl_status.so\n"
         "called_from_lib:/libabsl_statusor.so\n"
         "called_from_lib:/libabsl_str_format_internal.so\n"
         "called_from_lib:/libabsl_strerror.so\n"
         "called_from_lib:/libabsl_strings.so\n"
         "called_from_lib:/libabsl_strings_internal.so\n"
         "called_from_lib:/libabsl_symbolize.so\n"
         "called_from_lib:/libabsl_synchronization.so\n"
         "called_from_lib:/libabsl_throw_delegate.so\n"
         "called_from_lib:/libabsl_time.so\n"
         "called_from_lib:/libabsl_time_zone.so\n"
         "called_from_lib:/libaddress_sorting.so\n"
         "called_from_lib:/libcrypto.so\n"
         "called_from_lib:/libgpr.so\n"
         "called_from_lib:/libgrpc.so\n"
         "called_from_lib:/libgrpc++.so\n"
         "called_from_lib:/libre2.so\n"
         "called_from_lib:/libssl.so\n"
         "called_from_lib:/libupb.so\n"
         "called_from_lib:/libz.so\n";
}
