#ifndef TESTS_MATRIX_DRIVER_H_
#define TESTS_MATRIX_DRIVER_H_

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "tests/support/test_service.pb.h"

namespace mesh::test {

enum class Kind { kUnary, kClientStream, kServerStream, kBidi };

// The ways in which gRPC C++ lets an application make a call.
enum class Style {
  kSync,              // Blocking stub methods.
  kAsync,             // Completion queue, Async... methods.
  kPrepare,           // Completion queue, PrepareAsync... and StartCall.
  kEarlyFinish,       // The same; Finish is outstanding from the start.
  kCallback,          // Reactors.
  kFunction,          // The callback is a std::function (unary only).
  kGenericAsync,      // GenericStub: ByteBuffer on a completion queue.
  kGenericCallback,   // GenericStub: ByteBuffer, reactors.
  kGenericFunction,   // GenericStub: ByteBuffer, std::function (unary only).
  kTemplatedAsync,    // TemplatedGenericStub of protobuf messages.
  kTemplatedCallback  // The same with reactors.
};

const std::vector<Kind>& AllKinds();
const std::vector<Style>& AllStyles();
const char* Name(Kind kind);
const char* Name(Style style);

bool Writes(Kind kind);  // The client streams.
bool Reads(Kind kind);   // The server streams.

// Whether a call of this kind can be made in this style at all.
bool Exists(Kind kind, Style style);

// All kinds in all styles in which they exist.
struct Way {
  Kind kind;
  Style style;
};
const std::vector<Way>& AllWays();
void PrintTo(const Way& way, std::ostream* out);

// Whether ReadInitialMetadata can be called (or, with reactors, is reported)
// in this style apart from the first message.
bool CanReadInitialMetadata(Kind kind, Style style);

// One call to mesh.test.TestService, made in some style and driven by blocking
// functions, so that one script fits all styles. Each returns when the
// operation is complete and returns what gRPC said of it. One thread at a time;
// but the context may be cancelled by any.
class Driver {
 public:
  static std::unique_ptr<Driver> Make(
      Kind kind, Style style, std::shared_ptr<grpc::ChannelInterface> channel);

  // Cancels what still runs, and waits for what is outstanding.
  virtual ~Driver() = default;

  grpc::ClientContext& context() { return *context_; }

  // Before Start(): initial metadata waits for the first Write().
  void Cork() {
    corked_ = true;
    context_->set_initial_metadata_corked(true);
  }

  // Once, first. `request` is for kinds that don't stream requests.
  virtual bool Start(const Request& request) = 0;
  virtual bool ReadInitialMetadata() { return false; }
  virtual bool Write(const Request& request, grpc::WriteOptions options) {
    return false;
  }
  virtual bool WritesDone() { return false; }
  virtual bool Read(Reply* reply) { return false; }
  // Once, last. `reply` is set by kinds that have a single one.
  virtual grpc::Status Finish(Reply* reply) = 0;

  // What reactors were told besides the above; empty when nothing is strange.
  virtual std::string Complaints() { return ""; }

 protected:
  Driver() : context_(std::make_unique<grpc::ClientContext>()) {}

  std::unique_ptr<grpc::ClientContext> context_;
  bool corked_ = false;
};

}  // namespace mesh::test

#endif  // TESTS_MATRIX_DRIVER_H_
