#include "mesh/server/guard.h"

#include <utility>

#include "absl/status/status.h"
#include "mesh/base/mutex.h"
#include "mesh/grpc/auth_context.h"

namespace mesh::server {
namespace {

constexpr absl::string_view kTlsMark = "tls";
constexpr absl::string_view kPlaintextMark = "plaintext";

// What the first call of a connection tells of it. It also marks the
// connection. Several calls may come here at once. Whoever else reads the
// connection's properties does so for a call that came by here.
ConnectionLedger::FirstCall Introduce(Wire wire,
                                      grpc_auth_context* connection) {
  // Lives as long as the process: calls may end after static destructors.
  static auto* const mu = new base::Mutex;
  base::MutexLock lock(mu);
  core::Mark(connection, wire == Wire::kTls ? kTlsMark : kPlaintextMark);
  return {core::PeerChain(connection), core::Hold(connection)};
}

class PeerGuardImpl final : public CallGuard {
 public:
  PeerGuardImpl(std::shared_ptr<ConnectionLedger> ledger,
                const base::Clock* clock)
      : ledger_(std::move(ledger)), clock_(*clock) {}

  grpc::Status Check(GuardedCall* call) override {
    ConnectionLedger::Ruling ruling =
        RuleOn(ledger_.get(), call->wire, call->connection, clock_.Now());
    call->peer = std::move(ruling.peer);
    return grpc::Status(static_cast<grpc::StatusCode>(ruling.status.code()),
                        std::string(ruling.status.message()));
  }

 private:
  const std::shared_ptr<ConnectionLedger> ledger_;
  const base::Clock& clock_;
};

class RulesGuardImpl final : public CallGuard {
 public:
  explicit RulesGuardImpl(Authorize authorize)
      : authorize_(std::move(authorize)) {}

  grpc::Status Check(GuardedCall* call) override {
    if (call->peer != nullptr && authorize_(*call)) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                        "the caller may not call this method.");
  }

 private:
  const Authorize authorize_;
};

grpc::string_ref RefTo(const grpc_slice& slice) {
  const absl::string_view view = core::ViewOf(slice);
  return grpc::string_ref(view.data(), view.size());
}

}  // namespace

std::unique_ptr<CallGuard> PeerGuard(std::shared_ptr<ConnectionLedger> ledger,
                                     const base::Clock* clock) {
  return std::make_unique<PeerGuardImpl>(std::move(ledger), clock);
}

ConnectionLedger::Ruling RuleOn(ConnectionLedger* ledger, Wire wire,
                                grpc_auth_context* connection, absl::Time now) {
  return ledger->Rule(
      wire, connection, [&] { return Introduce(wire, connection); }, now);
}

std::optional<Wire> RuledWire(const grpc_auth_context* connection) {
  const absl::string_view mark = core::MarkOf(connection);
  if (mark.data() == nullptr) return std::nullopt;
  return mark == kTlsMark ? Wire::kTls : Wire::kPlaintext;
}

std::unique_ptr<CallGuard> RulesGuard(Authorize authorize) {
  return std::make_unique<RulesGuardImpl>(std::move(authorize));
}

GuardList::GuardList(std::vector<std::unique_ptr<CallGuard>> guards,
                     std::shared_ptr<grpc::AuthMetadataProcessor> processor)
    : guards_(std::move(guards)), processor_(std::move(processor)) {}

void GuardList::Judge(Wire wire, const core::ArrivingCall& call) {
  GuardedCall guarded = {
      wire,
      call.connection(),
      core::FindHeader(call.headers(), call.header_count(), ":path"),
      call.headers(),
      call.header_count(),
      nullptr};
  for (const auto& guard : guards_) {
    const grpc::Status status = guard->Check(&guarded);
    if (!status.ok()) return call.Refuse(status);
  }
  if (processor_ == nullptr) return call.Admit();
  if (!processor_->IsBlocking()) return Process(call);
  if (!pool_.Run([this, call] { Process(call); })) {
    call.Refuse(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                             "the server has no thread for the call."));
  }
}

void GuardList::Process(const core::ArrivingCall& call) const {
  grpc::AuthMetadataProcessor::InputMetadata headers;
  for (size_t i = 0; i < call.header_count(); ++i) {
    headers.emplace(RefTo(call.headers()[i].key),
                    RefTo(call.headers()[i].value));
  }
  core::ConnectionAuthContext context(call.connection());
  grpc::AuthMetadataProcessor::OutputMetadata consumed;
  grpc::AuthMetadataProcessor::OutputMetadata response;  // gRPC ignores it.
  grpc::Status status;
  try {
    status = processor_->Process(headers, &context, &consumed, &response);
  } catch (...) {
    status = grpc::Status(grpc::StatusCode::INTERNAL,
                          "the server's AuthMetadataProcessor has thrown.");
  }
  if (!status.ok()) return call.Refuse(status);
  call.Admit(consumed);
}

}  // namespace mesh::server
