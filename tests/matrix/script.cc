#include "tests/matrix/script.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mesh::test {
namespace {

// Cancels a call from a thread of its own when `due` says so, or when the call
// is over.
class Canceller {
 public:
  Canceller(grpc::ClientContext* context, std::function<bool()> due)
      : thread_([this, context, due] {
          while (!over_.load() && !due()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
          context->TryCancel();
        }) {}
  ~Canceller() {
    over_.store(true);
    thread_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

std::string UniqueKey() {
  static std::atomic<int> last{0};
  return absl::StrCat("call-", last.fetch_add(1) + 1);
}

// What can be compared of a peer: before there is a connection it is whatever
// the channel's target is called.
std::string PeerWord(const std::string& peer, TestServer* server) {
  if (peer.empty()) return "none";
  for (const std::string& address : server->addresses()) {
    if (absl::EndsWith(peer, address)) return "one of the server's addresses";
  }
  return "none of the server's ports";
}

}  // namespace

std::vector<Step> UsualSteps(Kind kind,
                             const std::vector<std::string>& requests) {
  std::vector<Step> steps;
  const std::string first = requests.empty() ? "" : requests[0];
  steps.push_back({Step::kStart, first});
  if (Writes(kind)) {
    for (const std::string& request : requests) {
      steps.push_back({Step::kWrite, request});
      if (kind == Kind::kBidi) steps.push_back({Step::kRead});
    }
    steps.push_back({Step::kWritesDone});
  }
  if (Reads(kind)) steps.push_back({Step::kReadAll});
  steps.push_back({Step::kFinish});
  return steps;
}

Played Play(const Script& script, Kind kind, Style style,
            std::shared_ptr<grpc::ChannelInterface> channel,
            TestServer* server) {
  Played played;
  Trace& trace = played.trace;
  const auto driver = Driver::Make(kind, style, std::move(channel));
  grpc::ClientContext& context = driver->context();

  Directives directives = script.directives;
  directives.set_key(UniqueKey());
  if (script.directives_in_metadata) {
    context.AddMetadata(kDirectivesKey, directives.SerializeAsString());
  }
  if (script.prepare) script.prepare(&context);
  if (script.cork) driver->Cork();

  bool first_request = !script.directives_in_metadata;
  const auto request_of = [&](const std::string& payload) {
    Request request;
    request.set_payload(payload);
    if (first_request) *request.mutable_directives() = directives;
    first_request = false;
    return request;
  };
  const auto sent = [&](absl::string_view what, bool ok) {
    if (!script.writes_may_fail) trace.push_back(absl::StrCat(what, " ", ok));
  };
  const auto received = [&](const std::string& line) {
    if (!script.received_varies) trace.push_back(line);
  };

  std::unique_ptr<Canceller> canceller;
  for (const Step& step : script.steps) {
    Reply reply;
    switch (step.what) {
      case Step::kStart: {
        const bool ok =
            driver->Start(Writes(kind) ? Request() : request_of(step.payload));
        sent("start", ok);
        break;
      }
      case Step::kReadInitialMetadata: {
        const bool ok = driver->ReadInitialMetadata();
        received(absl::StrCat(
            "initial metadata ", ok, " ",
            ok ? Describe(context.GetServerInitialMetadata()) : ""));
        break;
      }
      case Step::kWrite:
        sent("write", driver->Write(request_of(step.payload), step.options));
        break;
      case Step::kWritesDone:
        sent("writes done", driver->WritesDone());
        break;
      case Step::kRead:
        received(driver->Read(&reply) ? Describe(reply) : "no reply");
        break;
      case Step::kReadAll:
        while (driver->Read(&reply)) {
          received(Describe(reply));
          reply.Clear();
        }
        received("no more replies");
        break;
      case Step::kFinish:
        played.status = driver->Finish(&reply);
        trace.push_back(Describe(played.status, !script.message_varies));
        if (played.status.ok() && !Reads(kind))
          trace.push_back(Describe(reply));
        break;
      case Step::kCancel:
        context.TryCancel();
        break;
      case Step::kCancelWhenExecuting:
        canceller = std::make_unique<Canceller>(
            &context, [server, key = directives.key()] {
              return server->executions().Count(key).executions() > 0;
            });
        break;
      case Step::kCancelSoon:
        canceller = std::make_unique<Canceller>(
            &context,
            [rounds = std::make_shared<int>(0)] { return ++*rounds > 20; });
        break;
    }
  }
  canceller.reset();

  // Initial metadata may only be asked for when the call has had it, which
  // every style has by now.
  if (!script.received_varies) {
    trace.push_back(absl::StrCat("initial metadata ",
                                 Describe(context.GetServerInitialMetadata())));
    trace.push_back(absl::StrCat("peer ", PeerWord(context.peer(), server)));
  }
  trace.push_back(absl::StrCat("trailing metadata ",
                               Describe(context.GetServerTrailingMetadata())));
  if (!script.message_varies && !script.debug_varies) {
    trace.push_back(
        absl::StrCat("debug ", DescribeDebug(context.debug_error_string())));
  }
  if (!driver->Complaints().empty()) {
    trace.push_back(
        absl::StrCat("against the API's contract: ", driver->Complaints()));
  }
  played.executions = server->executions().Count(directives.key()).executions();
  return played;
}

}  // namespace mesh::test
