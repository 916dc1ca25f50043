#include "mesh/server/listen.h"

#include <climits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpc/grpc_security.h"
#include "grpc/support/alloc.h"
#include "mesh/base/clock.h"
#include "mesh/grpc/connection_acceptor.h"
#include "mesh/incoming/incoming_call.h"
#include "mesh/security/placeholder.h"
#include "mesh/server/attachment.h"
#include "mesh/server/bind.h"
#include "mesh/server/peer.h"

namespace mesh::server {
namespace {

using Handed = Listener::Handed;

// How long data of a server may stay unconfirmed: gRPC's own default.
constexpr int kUserTimeoutMs = 20'000;

// The value of an integer argument. 0: it is not there.
int IntArgument(const grpc_channel_args& arguments, absl::string_view name) {
  for (size_t i = 0; i < arguments.num_args; ++i) {
    const grpc_arg& argument = arguments.args[i];
    if (argument.type == GRPC_ARG_INTEGER && argument.key == name) {
      return argument.value.integer;
    }
  }
  return 0;
}

struct ReleaseContext {
  void operator()(grpc_auth_context* context) const {
    grpc_auth_context_release(context);
  }
};
// A reference to what all calls of a connection share.
using HeldContext = std::unique_ptr<grpc_auth_context, ReleaseContext>;

// A function that holds `guards` while it judges: the call may be their last.
core::JudgeCall JudgeWith(std::shared_ptr<GuardList> guards, Wire wire) {
  return [guards = std::move(guards), wire](const core::ArrivingCall& call) {
    const std::shared_ptr<GuardList> held = guards;
    held->Judge(wire, call);
  };
}

// The two ways into a server.
struct Acceptors {
  std::unique_ptr<core::ConnectionAcceptor> tls;
  std::unique_ptr<core::ConnectionAcceptor> plaintext;
};

// Who has no name, and came to a port of mesh all the same.
std::shared_ptr<const security::Peer> Nobody() {
  return std::make_shared<security::Peer>();
}

// The port. The server owns it, and so does the application that keeps it.
class DoorAttachment final : public ServerAttachment, public ServerDoor {
 public:
  DoorAttachment(std::shared_ptr<ConnectionLedger> ledger,
                 std::shared_ptr<Listener> listener)
      : ledger_(std::move(ledger)), listener_(std::move(listener)) {}

  Caller CallerOf(grpc::ServerContextBase* context) override {
    grpc_call* const call = context->c_call();
    const HeldContext connection(grpc_call_auth_context(call));
    const absl::Time now = base::Clock::Real().Now();
    const auto admitted = [&] {
      return ledger_->Admitted(
          connection.get(), [&] { return PeerAddress(call); }, now);
    };
    const Caller caller = admitted();
    if (caller.peer != nullptr) return caller;
    const std::optional<Wire> wire = RuledWire(connection.get());
    if (!wire.has_value()) return caller;  // It came to another port.
    // The call was admitted by its headers. So many others have come since that
    // the ledger has forgotten who makes it.
    const ConnectionLedger::Ruling again =
        RuleOn(ledger_.get(), *wire, connection.get(), now);
    if (!again.status.ok()) {
      grpc_call_cancel_with_status(
          call, static_cast<grpc_status_code>(again.status.code()),
          std::string(again.status.message()).c_str(), nullptr);
      return {Nobody(), nullptr};
    }
    const Caller known = admitted();
    return known.peer != nullptr ? known : Caller{again.peer, nullptr};
  }
  // As gRPC's own port: with keepalive, TCP gives up on a peer as soon.
  void Configured(const grpc_channel_args& arguments) override {
    const int time = IntArgument(arguments, GRPC_ARG_KEEPALIVE_TIME_MS);
    if (time <= 0 || time == INT_MAX) return;
    const int timeout = IntArgument(arguments, GRPC_ARG_KEEPALIVE_TIMEOUT_MS);
    user_timeout_ = absl::Milliseconds(timeout > 0 ? timeout : kUserTimeoutMs);
  }
  void Started() override { listener_->Start(user_timeout_); }
  void Gone() override { listener_->Stop(); }

  void AnnounceShutdown() override { ServerAttachment::AnnounceShutdown(); }
  void SetWires(Wires wires) override {
    ledger_->SetWires(wires, base::Clock::Real().Now());
  }
  void SetTrust(VerifyPeer verify, bool withdrawn) override {
    ledger_->SetTrust(std::make_shared<PeerTrust>(std::move(verify)), withdrawn,
                      base::Clock::Real().Now());
  }
  void SetShown(uint64_t number, uint64_t withdrawn) override {
    ledger_->SetShown(number, withdrawn, base::Clock::Real().Now());
  }
  void Close() override { listener_->Close(); }
  Counts counts() const override {
    return {ledger_->counts(), listener_->counts()};
  }

 private:
  static std::string PeerAddress(grpc_call* call) {
    const std::unique_ptr<char, void (*)(void*)> peer(grpc_call_get_peer(call),
                                                      &gpr_free);
    return peer == nullptr ? "" : peer.get();
  }

  const std::shared_ptr<ConnectionLedger> ledger_;
  const std::shared_ptr<Listener> listener_;
  // Set while the server is built.
  std::optional<absl::Duration> user_timeout_;
};

absl::StatusOr<core::ServerPair> Placeholder() {
  absl::StatusOr<security::PlaceholderPair> made =
      security::MakePlaceholderPair();
  if (!made.ok()) return made.status();
  core::ServerPair pair;
  pair.chain = std::make_shared<std::string>(made->certificate);
  pair.key = std::make_shared<std::string>(std::move(made->key));
  pair.client_authorities = pair.chain;
  return pair;
}

absl::Status CheckBuilder(grpc::ServerBuilder* builder,
                          absl::string_view address) {
  if (Installed(builder) != nullptr) {
    return absl::FailedPreconditionError(
        "Listen() or Attach() was called for this builder before. Call "
        "Listen() once, and Attach() not at all.");
  }
  if (absl::StartsWith(address, "unix:") ||
      absl::StartsWith(address, "unix-abstract:")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", address,
        "\" is no address for Listen(), which takes IP addresses only. Use "
        "grpc::ServerBuilder::AddListeningPort() for a Unix socket."));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<security::Peer> PeerOf(grpc::ServerContextBase* context) {
  const std::shared_ptr<const security::Peer> peer =
      incoming::PeerOfIncoming(context->c_call());
  if (peer == nullptr) return std::nullopt;
  return *peer;
}

absl::StatusOr<std::shared_ptr<ServerDoor>> Listen(grpc::ServerBuilder* builder,
                                                   absl::string_view address,
                                                   ListenOptions options,
                                                   int* port) {
  const absl::Status usable = CheckBuilder(builder, address);
  if (!usable.ok()) return usable;
  if (options.pair == nullptr) options.pair = [] { return core::ServerPair(); };
  if (options.log == nullptr) options.log = [](const std::string&) {};
  if (options.failed == nullptr) options.failed = [](const std::string&) {};
  absl::StatusOr<core::ServerPair> placeholder = Placeholder();
  if (!placeholder.ok()) return placeholder.status();
  absl::StatusOr<BoundPort> bound = BindPort(address);
  if (!bound.ok()) return bound.status();
  const int bound_port = bound->port;

  auto ledger = std::make_shared<ConnectionLedger>(
      options.wires, std::make_shared<PeerTrust>(std::move(options.verify)));
  auto acceptors = std::make_shared<Acceptors>();
  absl::StatusOr<std::shared_ptr<Listener>> listener = Listener::Make(
      *std::move(bound), ledger,
      [acceptors, pair = options.pair](Wire wire, int fd, int copy,
                                       char first) {
        const bool tls = wire == Wire::kTls;
        if (tls && pair().chain == nullptr) return Handed::kNotTaken;
        core::ConnectionAcceptor& acceptor =
            tls ? *acceptors->tls : *acceptors->plaintext;
        return acceptor.HandOver(fd, copy, first) ? Handed::kTaken
                                                  : Handed::kNoServer;
      },
      std::move(options.log), std::move(options.failed));
  if (!listener.ok()) return listener.status();

  std::vector<std::unique_ptr<CallGuard>> guards;
  guards.push_back(PeerGuard(ledger, &base::Clock::Real()));
  if (options.authorize != nullptr) {
    guards.push_back(RulesGuard(std::move(options.authorize)));
  }
  auto list = std::make_shared<GuardList>(std::move(guards),
                                          std::move(options.processor));
  acceptors->tls = std::make_unique<core::ConnectionAcceptor>(
      builder, core::TlsServerCredentials(std::move(options.pair),
                                          *std::move(placeholder),
                                          JudgeWith(list, Wire::kTls)));
  acceptors->plaintext = std::make_unique<core::ConnectionAcceptor>(
      builder, core::PlaintextServerCredentials(
                   JudgeWith(std::move(list), Wire::kPlaintext)));
  auto attachment =
      std::make_shared<DoorAttachment>(std::move(ledger), *std::move(listener));
  Install(builder, attachment);
  if (port != nullptr) *port = bound_port;
  return std::shared_ptr<ServerDoor>(std::move(attachment));
}

}  // namespace mesh::server
