#include "mesh/grpc/op_set.h"

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

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
  return dynamic_cast<CallOpClientRecvStatus*>(ops) != nullptr;
}

bool ReceivesHeaders(BatchOps* ops) {
  auto* const op = dynamic_cast<CallOpRecvInitialMetadata*>(ops);
  return op != nullptr && op->*MetadataMember() != nullptr;
}

bool StatuslessBatches::Includes(BatchOps* ops) {
  const void* const table = *reinterpret_cast<const void* const*>(ops);
  for (std::atomic<const void*>& known : tables_) {
    const void* const seen = known.load(std::memory_order_relaxed);
    if (seen == table) return true;
    if (seen != nullptr) continue;
    if (!KnowsItsType(ops) || ReceivesStatus(ops)) return false;
    known.store(table, std::memory_order_relaxed);
    return true;
  }
  // More kinds than there are: looking costs more than intercepting.
  return false;
}

void RearmStart(BatchOps* ops, grpc::ClientContext* context) {
  if (auto* op = dynamic_cast<CallOpSendInitialMetadata*>(ops)) {
    op->SendInitialMetadata(&Access::SentMetadata(context),
                            Access::InitialMetadataFlags(context));
  }
}

bool RearmMessage(BatchOps* ops, const grpc::ByteBuffer& bytes,
                  const grpc::WriteOptions& options) {
  auto* const op = dynamic_cast<CallOpSendMessage*>(ops);
  if (op == nullptr) return false;
  *op = CallOpSendMessage();  // It remembers that it failed.
  SendBytes(op, bytes, options);
  return true;
}

void DropMessage(BatchOps* ops) {
  if (auto* op = dynamic_cast<CallOpSendMessage*>(ops)) {
    *op = CallOpSendMessage();
  }
}

void RearmClose(BatchOps* ops) {
  if (auto* op = dynamic_cast<CallOpClientSendClose*>(ops)) {
    op->ClientSendClose();
  }
}

void RearmHeaders(BatchOps* ops, grpc::ClientContext* context) {
  if (auto* op = dynamic_cast<CallOpRecvInitialMetadata*>(ops)) {
    op->RecvInitialMetadata(context);
  }
}

void RearmStatus(BatchOps* ops, grpc::ClientContext* context,
                 grpc::Status* status) {
  auto* const op = dynamic_cast<CallOpClientRecvStatus*>(ops);
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
  if (auto* op = dynamic_cast<CallOpRecvInitialMetadata*>(ops)) {
    op->*MetadataMember() = nullptr;
  }
}

Deserializer KeepDeserializer(BatchOps* ops) {
  auto* const op = dynamic_cast<CallOpGenericRecvMessage*>(ops);
  if (op == nullptr) return nullptr;
  Deserializer whole = std::move(op->*DeserializerMember());
  op->*DeserializerMember() = std::make_unique<Borrowed>(whole.get());
  return whole;
}

void LendDeserializer(BatchOps* ops,
                      grpc::internal::DeserializeFunc* deserializer) {
  if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
    op->*DeserializerMember() = std::make_unique<Borrowed>(deserializer);
  }
}

void Disarm(BatchOps* ops) {
  SkipHeaders(ops);
  if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
    (op->*DeserializerMember()).reset();
  }
  if (auto* op = dynamic_cast<CallOpClientRecvStatus*>(ops)) {
    new (op) CallOpClientRecvStatus();
  }
}

void SkipReceiving(BatchOps* ops) {
  ops->SetHijackingState();
  if (auto* op = dynamic_cast<CallOpGenericRecvMessage*>(ops)) {
    op->got_message = false;
  }
}

}  // namespace mesh::core
