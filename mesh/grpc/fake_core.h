#ifndef MESH_GRPC_FAKE_CORE_H_
#define MESH_GRPC_FAKE_CORE_H_

#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "grpc/grpc.h"
#include "grpcpp/grpcpp.h"
#include "mesh/base/mutex.h"

// A stand-in for gRPC's core, for tests of what runs calls. fake_core.cc
// defines the C functions of the core that a call comes through. A program that
// links it calls those instead of libgrpc's, also from gRPC's C++ classes. So
// real stubs, contexts and batches run with no server, no thread and no clock.
// A test decides what a call brings and in which order.
//
// While a FakeCore lives, channels that it makes, lame channels, and calls on
// them are fakes. All others are the real core's: channels inside the process
// are, and completion queues, on which fakes put nothing.

namespace mesh::core {

class FakeCore;

// A batch that was started.
struct FakeBatch {
  std::vector<grpc_op> ops;
  void* tag = nullptr;
  bool sent = false;  // What it sends has gone out.

  bool Has(grpc_op_type type) const;
};

// A grpc_call. It belongs to the core, which keeps it when the last reference
// is gone, to find who still uses it.
class FakeCall {
 public:
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  // --- What became of it.
  const std::string& channel() const { return channel_; }
  const std::string& path() const { return path_; }
  gpr_timespec deadline() const { return deadline_; }
  bool cancelled() const { return cancelled_; }
  bool ended() const { return ended_; }
  bool gone() const { return refs_ == 0; }  // It has no reference left.
  // Metadata and messages that were sent on it, and whether it half-closed.
  const std::multimap<std::string, std::string>& sent_metadata() const {
    return sent_metadata_;
  }
  const std::vector<std::string>& sent() const { return sent_; }
  bool closed() const { return closed_; }
  // Batches that have not come back.
  size_t pending() const { return pending_.size(); }

  // --- What the server says. What can come back then waits in FakeCore.
  void SendHeaders(const Metadata& metadata = {});
  // After headers, which are sent if they were not.
  void SendMessage(const std::string& bytes);
  // The call ends. Without headers before, it is trailers only. An empty
  // `debug`: the text is what gRPC writes for a peer's status.
  void End(grpc_status_code code, const std::string& message = "",
           const Metadata& trailers = {}, const std::string& debug = "");
  // The answer of a unary call.
  void Answer(const std::string& bytes);
  // From now on nothing that is sent goes out, or all that was held back.
  void HoldSends(bool hold);

 private:
  friend class FakeCore;
  FakeCall(FakeCore* core, std::string channel)
      : core_(core), channel_(std::move(channel)) {}

  bool CanFinish(const FakeBatch& batch) const;
  bool Finish(const FakeBatch& batch);
  void Pump();
  void NoteSent(const FakeBatch& batch);
  void Fill(const Metadata& metadata, grpc_metadata_array* array);

  FakeCore* const core_;
  const std::string channel_;
  std::string path_;
  gpr_timespec deadline_ = {};
  bool callback_queue_ = false;
  int refs_ = 1;
  bool cancelled_ = false;
  bool hold_sends_ = false;

  std::multimap<std::string, std::string> sent_metadata_;
  std::vector<std::string> sent_;
  bool closed_ = false;

  bool has_headers_ = false;
  bool trailers_only_ = false;
  Metadata headers_;
  std::deque<std::string> messages_;
  bool ended_ = false;
  grpc_status_code code_ = GRPC_STATUS_OK;
  std::string message_;
  std::string debug_;
  Metadata trailers_;

  std::deque<FakeBatch> pending_;
  std::list<std::string> texts_;  // Metadata points to these.
  std::vector<std::unique_ptr<char[]>> arena_;
};

// What comes back, and to whom, waits in a queue.
struct FakeEvent {
  void* tag = nullptr;
  bool ok = false;
};

// There is one at a time, on one thread. Other threads of the real core may
// only ask whether something is a fake; that is thread-safe.
class FakeCore {
 public:
  FakeCore();
  // No call must be in use any more.
  ~FakeCore();
  FakeCore(const FakeCore&) = delete;
  FakeCore& operator=(const FakeCore&) = delete;

  // The channel to `name`: the same for the same name.
  grpc_channel* Channel(const std::string& name);

  // Calls on such channels, in the order in which they were created.
  size_t calls() const { return calls_.size(); }
  FakeCall& call(size_t i) { return *calls_.at(i); }
  FakeCall& last() { return *calls_.back(); }
  // Calls that are still in use, lame ones too.
  size_t live() const;

  // Batches that are done wait to be taken from their queues. Taking one lets
  // gRPC's C++ classes, and mesh's interceptor, see it.
  size_t ready() const { return ready_.size(); }
  void Run(size_t i = 0);
  // All, with those that come meanwhile.
  void RunAll();
  // What the application got meanwhile, as from CompletionQueue::Next().
  std::vector<FakeEvent> TakeDelivered() { return std::move(delivered_); }

  // --- For the functions of the core.
  static FakeCore* current();
  bool IsFake(const grpc_channel* channel) const;
  bool IsFake(const grpc_call* call) const;
  grpc_call* CreateCall(grpc_channel* channel, const grpc_slice& path,
                        gpr_timespec deadline, grpc_completion_queue* queue);
  grpc_channel* CreateLameChannel(grpc_status_code code, const char* message);
  void StartBatch(grpc_call* call, const grpc_op* ops, size_t count, void* tag);
  void Ref(grpc_call* call);
  void Unref(grpc_call* call);
  void Cancel(grpc_call* call, grpc_status_code code, const char* why);
  void* Allocate(grpc_call* call, size_t size);
  static bool TrailersOnly(const grpc_call* call);

 private:
  friend class FakeCall;
  struct Lame {
    grpc_status_code code;
    std::string message;
  };
  struct Ready {
    FakeCall* call;
    void* tag;
    bool ok;
  };

  static FakeCall* Of(grpc_call* call);

  std::map<std::string, std::unique_ptr<char>> channels_;  // By name.
  std::vector<std::unique_ptr<char>> lame_channels_;
  std::vector<std::unique_ptr<FakeCall>> calls_;
  std::vector<std::unique_ptr<FakeCall>> lame_calls_;
  std::deque<Ready> ready_;
  std::vector<FakeEvent> delivered_;

  mutable base::Mutex mu_;
  std::map<const void*, std::string> names_ ABSL_GUARDED_BY(mu_);
  std::map<const void*, Lame> lame_ ABSL_GUARDED_BY(mu_);
  std::map<const void*, FakeCall*> known_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::core

#endif  // MESH_GRPC_FAKE_CORE_H_
