#ifndef TESTS_MATRIX_SCRIPT_H_
#define TESTS_MATRIX_SCRIPT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/matrix/driver.h"
#include "tests/matrix/trace.h"
#include "tests/support/test_server.h"

namespace mesh::test {

// One step of an application's dealing with a call.
struct Step {
  enum Do {
    kStart,
    kReadInitialMetadata,
    kWrite,
    kWritesDone,
    kRead,
    kReadAll,  // Until there is no more.
    kFinish,
    kCancel,  // TryCancel on this thread.
    // TryCancel on another thread, once the server executes the call.
    kCancelWhenExecuting,
    kCancelSoon,  // TryCancel on another thread, after a moment.
  };
  Do what;
  std::string payload = {};  // kWrite, and kStart where there is one request.
  grpc::WriteOptions options = {};
};

// What is played on a bare channel and on a mesh channel.
struct Script {
  std::vector<Step> steps;
  Directives directives;
  // Where the server gets its directives. In the request they are only in its
  // first one.
  bool directives_in_metadata = true;
  bool cork = false;
  // Sets up the context, before the start.
  std::function<void(grpc::ClientContext*)> prepare;

  // What gRPC leaves open, so that it isn't compared: whether a write or the
  // half-close succeeds when the call ends meanwhile,
  bool writes_may_fail = false;
  // the words of a status that the client's library itself makes up,
  bool message_varies = false;
  // its debug string,
  bool debug_varies = false;
  // whether replies or initial metadata arrive before a cancellation does.
  bool received_varies = false;
};

// The usual steps of a kind: the streams send (and a bidi stream reads after
// each) `requests`; then all that is left is read.
std::vector<Step> UsualSteps(Kind kind,
                             const std::vector<std::string>& requests = {
                                 "one", "two", "three"});

struct Played {
  Trace trace;
  grpc::Status status;
  int64_t executions = 0;  // By the server, of this call.
};

// Plays `script` as one call.
Played Play(const Script& script, Kind kind, Style style,
            std::shared_ptr<grpc::ChannelInterface> channel,
            TestServer* server);

}  // namespace mesh::test

#endif  // TESTS_MATRIX_SCRIPT_H_
