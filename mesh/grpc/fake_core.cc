#include "mesh/grpc/fake_core.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "grpc/byte_buffer.h"
#include "grpc/support/alloc.h"
#include "grpc/support/string_util.h"
#include "grpcpp/impl/codegen/completion_queue_tag.h"
#include "mesh/grpc/raw_call.h"

namespace mesh::core {
namespace {

FakeCore* the_core = nullptr;

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "fake core: %s\n", what);
  std::abort();
}

std::string Text(const grpc_slice& slice) {
  return std::string(reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)),
                     GRPC_SLICE_LENGTH(slice));
}

bool Sends(grpc_op_type type) {
  return type == GRPC_OP_SEND_INITIAL_METADATA ||
         type == GRPC_OP_SEND_MESSAGE || type == GRPC_OP_SEND_CLOSE_FROM_CLIENT;
}

}  // namespace

// Queues whose tags are functors. They may be older than a FakeCore, and end on
// gRPC's threads.
class CallbackQueues {
 public:
  static CallbackQueues& Get() {
    static auto* const queues = new CallbackQueues;
    return *queues;
  }
  void Add(const grpc_completion_queue* queue) {
    base::MutexLock lock(&mu_);
    queues_.insert(queue);
  }
  void Remove(const grpc_completion_queue* queue) {
    base::MutexLock lock(&mu_);
    queues_.erase(queue);
  }
  bool Has(const grpc_completion_queue* queue) {
    base::MutexLock lock(&mu_);
    return queues_.count(queue) > 0;
  }

 private:
  base::Mutex mu_;
  std::set<const void*> queues_ ABSL_GUARDED_BY(mu_);
};

bool FakeBatch::Has(grpc_op_type type) const {
  for (const grpc_op& op : ops) {
    if (op.op == type) return true;
  }
  return false;
}

// --- Calls

void FakeCall::SendHeaders(const Metadata& metadata) {
  if (has_headers_ || ended_) return;
  has_headers_ = true;
  headers_ = metadata;
  Pump();
}

void FakeCall::SendMessage(const std::string& bytes) {
  if (ended_) return;
  has_headers_ = true;
  messages_.push_back(bytes);
  Pump();
}

void FakeCall::End(grpc_status_code code, const std::string& message,
                   const Metadata& trailers, const std::string& debug) {
  if (ended_) return;
  ended_ = true;
  code_ = code;
  message_ = message;
  trailers_ = trailers;
  debug_ = debug.empty() ? "Error received from peer ipv4:" + channel_ +
                               " {grpc_message:\"" + message + "\"}"
                         : debug;
  trailers_only_ = !has_headers_;
  Pump();
}

void FakeCall::Answer(const std::string& bytes) {
  SendMessage(bytes);
  End(GRPC_STATUS_OK);
}

void FakeCall::HoldSends(bool hold) {
  hold_sends_ = hold;
  for (FakeBatch& batch : pending_) batch.sent = batch.sent || !hold;
  Pump();
}

bool FakeCall::CanFinish(const FakeBatch& batch) const {
  if (ended_) return true;
  for (const grpc_op& op : batch.ops) {
    if (Sends(op.op) && !batch.sent) return false;
    if (op.op == GRPC_OP_RECV_INITIAL_METADATA && !has_headers_) return false;
    if (op.op == GRPC_OP_RECV_MESSAGE && messages_.empty()) return false;
    if (op.op == GRPC_OP_RECV_STATUS_ON_CLIENT) return false;
  }
  return true;
}

void FakeCall::Fill(const Metadata& metadata, grpc_metadata_array* array) {
  array->count = metadata.size();
  if (metadata.empty()) return;
  array->capacity = metadata.size();
  array->metadata = static_cast<grpc_metadata*>(
      gpr_zalloc(metadata.size() * sizeof(grpc_metadata)));
  for (size_t i = 0; i < metadata.size(); ++i) {
    const auto slice = [this](const std::string& text) {
      texts_.push_back(text);
      return grpc_slice_from_static_buffer(texts_.back().data(), text.size());
    };
    array->metadata[i].key = slice(metadata[i].first);
    array->metadata[i].value = slice(metadata[i].second);
  }
}

// Fills in what the batch receives. Returns whether it succeeded.
bool FakeCall::Finish(const FakeBatch& batch) {
  bool ok = true;
  for (const grpc_op& op : batch.ops) {
    switch (op.op) {
      case GRPC_OP_RECV_INITIAL_METADATA:
        if (has_headers_) {
          Fill(headers_, op.data.recv_initial_metadata.recv_initial_metadata);
        }
        break;
      case GRPC_OP_RECV_MESSAGE:
        *op.data.recv_message.recv_message = nullptr;
        if (!messages_.empty()) {
          const grpc::Slice slice(messages_.front());
          *op.data.recv_message.recv_message =
              ToCore(grpc::ByteBuffer(&slice, 1));
          messages_.pop_front();
        }
        break;
      case GRPC_OP_RECV_STATUS_ON_CLIENT:
        Fill(trailers_, op.data.recv_status_on_client.trailing_metadata);
        *op.data.recv_status_on_client.status = code_;
        *op.data.recv_status_on_client.status_details =
            grpc_slice_from_copied_buffer(message_.data(), message_.size());
        if (op.data.recv_status_on_client.error_string != nullptr) {
          *op.data.recv_status_on_client.error_string =
              code_ == GRPC_STATUS_OK ? nullptr : gpr_strdup(debug_.c_str());
        }
        break;
      default:
        ok = ok && batch.sent;
        break;
    }
  }
  return ok || batch.Has(GRPC_OP_RECV_STATUS_ON_CLIENT);
}

// Puts in line what can come back.
void FakeCall::Pump() {
  for (size_t i = 0; i < pending_.size();) {
    if (!CanFinish(pending_[i])) {
      ++i;
      continue;
    }
    const FakeBatch batch = std::move(pending_[i]);
    pending_.erase(pending_.begin() + i);
    core_->ready_.push_back({this, batch.tag, Finish(batch)});
  }
}

void FakeCall::NoteSent(const FakeBatch& batch) {
  for (const grpc_op& op : batch.ops) {
    if (op.op == GRPC_OP_SEND_INITIAL_METADATA) {
      for (size_t i = 0; i < op.data.send_initial_metadata.count; ++i) {
        const grpc_metadata& entry = op.data.send_initial_metadata.metadata[i];
        sent_metadata_.emplace(Text(entry.key), Text(entry.value));
      }
    } else if (op.op == GRPC_OP_SEND_MESSAGE) {
      // gRPC's classes read it as they may have it: a reference.
      const grpc::ByteBuffer bytes =
          FromCore(op.data.send_message.send_message);
      std::vector<grpc::Slice> slices;
      if (bytes.Valid()) (void)bytes.Dump(&slices).ok();
      std::string text;
      for (const grpc::Slice& slice : slices) {
        text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
      sent_.push_back(text);
    } else if (op.op == GRPC_OP_SEND_CLOSE_FROM_CLIENT) {
      closed_ = true;
    }
  }
}

// --- The core

FakeCore::FakeCore() {
  if (the_core != nullptr) Die("there is one already");
  the_core = this;
}

FakeCore::~FakeCore() {
  if (live() != 0) Die("a call is in use still");
  the_core = nullptr;
}

FakeCore* FakeCore::current() { return the_core; }

FakeCall* FakeCore::Of(grpc_call* call) {
  return reinterpret_cast<FakeCall*>(call);
}

grpc_channel* FakeCore::Channel(const std::string& name) {
  std::unique_ptr<char>& channel = channels_[name];
  if (channel == nullptr) {
    channel = std::make_unique<char>();
    base::MutexLock lock(&mu_);
    names_[channel.get()] = name;
  }
  return reinterpret_cast<grpc_channel*>(channel.get());
}

grpc_channel* FakeCore::CreateLameChannel(grpc_status_code code,
                                          const char* message) {
  lame_channels_.push_back(std::make_unique<char>());
  char* const channel = lame_channels_.back().get();
  base::MutexLock lock(&mu_);
  lame_[channel] = {code, message};
  return reinterpret_cast<grpc_channel*>(channel);
}

size_t FakeCore::live() const {
  size_t live = 0;
  for (const auto& call : calls_) live += call->gone() ? 0 : 1;
  for (const auto& call : lame_calls_) live += call->gone() ? 0 : 1;
  return live;
}

bool FakeCore::IsFake(const grpc_channel* channel) const {
  base::MutexLock lock(&mu_);
  return names_.count(channel) > 0 || lame_.count(channel) > 0;
}

bool FakeCore::IsFake(const grpc_call* call) const {
  base::MutexLock lock(&mu_);
  const auto found = known_.find(call);
  if (found == known_.end()) return false;
  if (found->second->gone()) Die("a call is used that nobody holds");
  return true;
}

grpc_call* FakeCore::CreateCall(grpc_channel* channel, const grpc_slice& path,
                                gpr_timespec deadline,
                                grpc_completion_queue* queue) {
  Lame why;
  std::string name;
  bool lame;
  {
    base::MutexLock lock(&mu_);
    const auto found = lame_.find(channel);
    lame = found != lame_.end();
    if (lame) {
      why = found->second;
    } else {
      name = names_.at(channel);
    }
  }
  auto& all = lame ? lame_calls_ : calls_;
  all.push_back(std::unique_ptr<FakeCall>(new FakeCall(this, name)));
  FakeCall* const call = all.back().get();
  call->path_ = Text(path);
  call->deadline_ = deadline;
  call->callback_queue_ = CallbackQueues::Get().Has(queue);
  if (lame) call->End(why.code, why.message, {}, "lame");
  base::MutexLock lock(&mu_);
  known_[call] = call;
  return reinterpret_cast<grpc_call*>(call);
}

void FakeCore::StartBatch(grpc_call* core, const grpc_op* ops, size_t count,
                          void* tag) {
  FakeCall* const call = Of(core);
  FakeBatch batch;
  batch.ops.assign(ops, ops + count);
  batch.tag = tag;
  batch.sent = !call->ended_ && !call->hold_sends_;
  call->NoteSent(batch);
  call->pending_.push_back(std::move(batch));
  call->Pump();
}

void FakeCore::Ref(grpc_call* call) { ++Of(call)->refs_; }

void FakeCore::Unref(grpc_call* core) {
  FakeCall* const call = Of(core);
  if (--call->refs_ > 0) return;
  if (!call->pending_.empty()) Die("a call goes while its batches run");
  // Code that still reads what it had finds nothing.
  for (std::string& text : call->texts_) std::fill(text.begin(), text.end(), 0);
}

void FakeCore::Cancel(grpc_call* core, grpc_status_code code, const char* why) {
  FakeCall* const call = Of(core);
  if (call->cancelled_) return;
  const bool lame = call->ended_ && call->channel_.empty();
  call->cancelled_ = true;
  if (lame) {
    call->code_ = code;
    call->message_ = why;
  }
  call->End(code, why, {}, "cancelled");
}

void* FakeCore::Allocate(grpc_call* call, size_t size) {
  auto& arena = Of(call)->arena_;
  arena.push_back(std::make_unique<char[]>(size));
  return arena.back().get();
}

bool FakeCore::TrailersOnly(const grpc_call* call) {
  return reinterpret_cast<const FakeCall*>(call)->trailers_only_;
}

void FakeCore::Run(size_t i) {
  const Ready ready = ready_.at(i);
  ready_.erase(ready_.begin() + i);
  if (ready.call->callback_queue_) {
    auto* const functor =
        static_cast<grpc_completion_queue_functor*>(ready.tag);
    functor->functor_run(functor, ready.ok ? 1 : 0);
    return;
  }
  FakeEvent event;
  event.tag = ready.tag;
  event.ok = ready.ok;
  auto* const tag = static_cast<grpc::internal::CompletionQueueTag*>(ready.tag);
  if (tag->FinalizeResult(&event.tag, &event.ok)) delivered_.push_back(event);
}

void FakeCore::RunAll() {
  while (!ready_.empty()) Run();
}

// The next definition of a symbol after this program's own.
template <typename Function>
Function* Real(const char* symbol) {
  auto* const real = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, symbol));
  if (real == nullptr) Die(symbol);
  return real;
}

}  // namespace mesh::core

using mesh::core::FakeCore;

// Looked for once by each that uses it.
#define MESH_REAL(function)                                                    \
  ([] {                                                                        \
    static auto* const real = mesh::core::Real<decltype(function)>(#function); \
    return real;                                                               \
  }())

extern "C" {

grpc_call* grpc_channel_create_call(grpc_channel* channel, grpc_call* parent,
                                    uint32_t propagation,
                                    grpc_completion_queue* queue,
                                    grpc_slice method, const grpc_slice* host,
                                    gpr_timespec deadline, void* reserved) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(channel)) {
    return core->CreateCall(channel, method, deadline, queue);
  }
  return MESH_REAL(grpc_channel_create_call)(
      channel, parent, propagation, queue, method, host, deadline, reserved);
}

grpc_channel* grpc_lame_client_channel_create(const char* target,
                                              grpc_status_code code,
                                              const char* message) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr) return core->CreateLameChannel(code, message);
  return MESH_REAL(grpc_lame_client_channel_create)(target, code, message);
}

void grpc_channel_destroy(grpc_channel* channel) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(channel)) return;
  MESH_REAL(grpc_channel_destroy)(channel);
}

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops,
                                      size_t count, void* tag, void* reserved) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) {
    core->StartBatch(call, ops, count, tag);
    return GRPC_CALL_OK;
  }
  return MESH_REAL(grpc_call_start_batch)(call, ops, count, tag, reserved);
}

void grpc_call_ref(grpc_call* call) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) return core->Ref(call);
  MESH_REAL(grpc_call_ref)(call);
}

void grpc_call_unref(grpc_call* call) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) return core->Unref(call);
  MESH_REAL(grpc_call_unref)(call);
}

grpc_call_error grpc_call_cancel(grpc_call* call, void* reserved) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) {
    core->Cancel(call, GRPC_STATUS_CANCELLED, "CANCELLED");
    return GRPC_CALL_OK;
  }
  return MESH_REAL(grpc_call_cancel)(call, reserved);
}

grpc_call_error grpc_call_cancel_with_status(grpc_call* call,
                                             grpc_status_code code,
                                             const char* why, void* reserved) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) {
    core->Cancel(call, code, why);
    return GRPC_CALL_OK;
  }
  return MESH_REAL(grpc_call_cancel_with_status)(call, code, why, reserved);
}

void* grpc_call_arena_alloc(grpc_call* call, size_t size) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) return core->Allocate(call, size);
  return MESH_REAL(grpc_call_arena_alloc)(call, size);
}

char* grpc_call_get_peer(grpc_call* call) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) {
    return gpr_strdup(
        reinterpret_cast<mesh::core::FakeCall*>(call)->channel().c_str());
  }
  return MESH_REAL(grpc_call_get_peer)(call);
}

void grpc_census_call_set_context(grpc_call* call, census_context* context) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) return;
  MESH_REAL(grpc_census_call_set_context)(call, context);
}

int grpc_call_failed_before_recv_message(const grpc_call* call) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call)) {
    return FakeCore::TrailersOnly(call) ? 1 : 0;
  }
  return MESH_REAL(grpc_call_failed_before_recv_message)(call);
}

grpc_completion_queue* grpc_completion_queue_create_for_callback(
    grpc_completion_queue_functor* shutdown, void* reserved) {
  grpc_completion_queue* const queue =
      MESH_REAL(grpc_completion_queue_create_for_callback)(shutdown, reserved);
  mesh::core::CallbackQueues::Get().Add(queue);
  return queue;
}

void grpc_completion_queue_destroy(grpc_completion_queue* queue) {
  mesh::core::CallbackQueues::Get().Remove(queue);
  MESH_REAL(grpc_completion_queue_destroy)(queue);
}

}  // extern "C"

// C++ functions of the core, for libgrpc++. They are found by their mangled
// names (Itanium C++ ABI).
bool grpc_call_is_trailers_only(const grpc_call* call) {
  FakeCore* const core = FakeCore::current();
  if (core != nullptr && core->IsFake(call))
    return FakeCore::TrailersOnly(call);
  static auto* const real = reinterpret_cast<bool (*)(const grpc_call*)>(
      dlsym(RTLD_NEXT, "_Z26grpc_call_is_trailers_onlyPK9grpc_call"));
  return real(call);
}
