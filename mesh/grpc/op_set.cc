#include "mesh/grpc/op_set.h"

#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/base/optimization.h"
#include "grpcpp/impl/call_op_set.h"
#include "grpcpp/support/client_callback.h"

namespace mesh::core {
namespace {

using grpc::internal::CallOpClientRecvStatus;
using grpc::internal::CallOpClientSendClose;
using grpc::internal::CallOpGenericRecvMessage;
using grpc::internal::CallOpRecvInitialMetadata;
using grpc::internal::CallOpSendInitialMetadata;
using grpc::internal::CallOpSendMessage;

// Reads a message as `whole` does, which it does not own.
class Borrowed final : public grpc::internal::DeserializeFunc {
 public:
  explicit Borrowed(DeserializeFunc* whole) : whole_(whole) {}
  grpc::Status Deserialize(grpc::ByteBuffer* buffer) override {
    return whole_->Deserialize(buffer);
  }

 private:
  DeserializeFunc* const whole_;
};

// Newer versions of gRPC want an allocator as well.
template <typename Op, typename = void>
struct TakesTwo : std::false_type {};
template <typename Op>
struct TakesTwo<Op, std::void_t<decltype(std::declval<Op&>().SendMessage(
                        std::declval<const grpc::ByteBuffer&>(),
                        std::declval<grpc::WriteOptions>()))>>
    : std::true_type {};

template <typename Op>
grpc::Status Send(Op* op, const grpc::ByteBuffer& bytes,
                  const grpc::WriteOptions& options) {
  if constexpr (TakesTwo<Op>::value) {
    return op->SendMessage(bytes, options);
  } else {
    return op->SendMessage(bytes, options, nullptr);
  }
}

// The operation of `ops` that is an Op, or null. It is a dynamic_cast that
// remembers where batches of a type have it. A process has few types of
// batches: one per kind of stream and of message.
template <typename Op>
Op* FindOp(BatchOps* ops) {
  // The distance of the operation from the batch, plus one. Both are written
  // once, the distance first. The thread that wrote it writes the table, too.
  struct Known {
    std::atomic<const void*> table{nullptr};
    std::atomic<ptrdiff_t> distance{0};
  };
  constexpr ptrdiff_t kNone = -1;
  constexpr uint64_t kKnown = 64;
  static Known* const known = new Known[kKnown];

  // A batch begins with the address of its virtual table (Itanium C++ ABI). The
  // table tells the batch's type. Tables lie closely together, so their
  // addresses are mixed.
  const void* const table = *reinterpret_cast<const void* const*>(ops);
  const uint64_t hash =
      reinterpret_cast<uintptr_t>(table) * uint64_t{0x9e3779b97f4a7c15};
  Known& entry = known[hash >> 58];
  ptrdiff_t distance;
  if (ABSL_PREDICT_TRUE(entry.table.load(std::memory_order_acquire) == table)) {
    distance = entry.distance.load(std::memory_order_relaxed);
  } else {
    if (!KnowsItsType(ops)) return nullptr;
    Op* const op = dynamic_cast<Op*>(ops);
    distance = op == nullptr ? kNone
                             : reinterpret_cast<char*>(op) -
                                   reinterpret_cast<char*>(ops) + 1;
    ptrdiff_t unset = 0;
    if (entry.distance.compare_exchange_strong(unset, distance,
                                               std::memory_order_relaxed)) {
      entry.table.store(table, std::memory_order_release);
    }
  }
  if (distance == kNone) return nullptr;
  return reinterpret_cast<Op*>(reinterpret_cast<char*>(ops) + distance - 1);
}

}  // namespace

bool TrailersOnly(grpc_call* call) {
  class Reactor final : public grpc::internal::ClientReactor {
   public:
    void OnDone(const grpc::Status&) override {}
  };
  static const auto* const reactor = new Reactor;
  return reactor->InternalTrailersOnly(call);
}

bool ReceivesStatus(BatchOps* ops) {
  return FindOp<CallOpClientRecvStatus>(ops) != nullptr;
}

bool ReceivesHeaders(BatchOps* ops) {
  auto* const op = FindOp<CallOpRecvInitialMetadata>(ops);
  return op != nullptr && op->*MetadataMember() != nullptr;
}

CallOpSendMessage* SendMessageOf(BatchOps* ops) {
  return FindOp<CallOpSendMessage>(ops);
}

bool StatuslessBatches::Includes(BatchOps* ops) {
  // As in FindOp(): the virtual table tells the batch's type.
  const void* const table = *reinterpret_cast<const void* const*>(ops);
  for (std::atomic<const void*>& known : tables_) {
    const void* const seen = known.load(std::memory_order_relaxed);
    if (seen == table) return true;
    if (seen != nullptr) continue;
    if (!KnowsItsType(ops) || ReceivesStatus(ops)) return false;
    known.store(table, std::memory_order_relaxed);
    return true;
  }
  // There are more kinds than the table holds: looking costs more than
  // intercepting.
  return false;
}

void RearmStart(BatchOps* ops, grpc::ClientContext* context) {
  if (auto* op = FindOp<CallOpSendInitialMetadata>(ops)) {
    op->SendInitialMetadata(&Access::SentMetadata(context),
                            Access::InitialMetadataFlags(context));
  }
}

bool RearmMessage(BatchOps* ops, const grpc::ByteBuffer& bytes,
                  const grpc::WriteOptions& options) {
  auto* const op = FindOp<CallOpSendMessage>(ops);
  if (op == nullptr) return false;
  *op = CallOpSendMessage();  // It remembers that it failed.
  SendBytes(op, bytes, options);
  return true;
}

void DropMessage(BatchOps* ops) {
  if (auto* op = FindOp<CallOpSendMessage>(ops)) {
    *op = CallOpSendMessage();
  }
}

void RearmClose(BatchOps* ops) {
  if (auto* op = FindOp<CallOpClientSendClose>(ops)) {
    op->ClientSendClose();
  }
}

void RearmHeaders(BatchOps* ops, grpc::ClientContext* context) {
  if (auto* op = FindOp<CallOpRecvInitialMetadata>(ops)) {
    op->RecvInitialMetadata(context);
  }
}

void RearmStatus(BatchOps* ops, grpc::ClientContext* context,
                 grpc::Status* status) {
  auto* const op = FindOp<CallOpClientRecvStatus>(ops);
  new (op) CallOpClientRecvStatus();  // It keeps the old debug string.
  op->ClientRecvStatus(context, status);
}

void SendBytes(CallOpSendMessage* op, const grpc::ByteBuffer& bytes,
               const grpc::WriteOptions& options) {
  // A ByteBuffer is its own serialization: this cannot fail.
  const grpc::Status ignored = Send(op, bytes, options);
  (void)ignored;
}

const grpc::WriteOptions& WriteOptionsOf(CallOpSendMessage* op) {
  return op->*WriteOptionsMember();
}

void ReceiveHeaders(CallOpRecvInitialMetadata* op,
                    grpc::ClientContext* context) {
  op->*MetadataMember() = &Access::InitialMetadata(context);
}

void SkipHeaders(BatchOps* ops) {
  if (auto* op = FindOp<CallOpRecvInitialMetadata>(ops)) {
    op->*MetadataMember() = nullptr;
  }
}

Deserializer KeepDeserializer(BatchOps* ops) {
  auto* const op = FindOp<CallOpGenericRecvMessage>(ops);
  if (op == nullptr) return nullptr;
  Deserializer whole = std::move(op->*DeserializerMember());
  op->*DeserializerMember() = std::make_unique<Borrowed>(whole.get());
  return whole;
}

void LendDeserializer(BatchOps* ops,
                      grpc::internal::DeserializeFunc* deserializer) {
  if (auto* op = FindOp<CallOpGenericRecvMessage>(ops)) {
    op->*DeserializerMember() = std::make_unique<Borrowed>(deserializer);
  }
}

void Disarm(BatchOps* ops) {
  SkipHeaders(ops);
  if (auto* op = FindOp<CallOpGenericRecvMessage>(ops)) {
    (op->*DeserializerMember()).reset();
  }
  if (auto* op = FindOp<CallOpClientRecvStatus>(ops)) {
    new (op) CallOpClientRecvStatus();
  }
}

void SkipReceiving(BatchOps* ops) {
  ops->SetHijackingState();
  if (auto* op = FindOp<CallOpGenericRecvMessage>(ops)) {
    op->got_message = false;
  }
}

}  // namespace mesh::core
